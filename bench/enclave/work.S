// What runs in the enclave, and the same work outside it: RDI rounds on the word at RSI, which moves on by RDX bytes
// after each. No round is an entry and an exit.
    .intel_syntax noprefix
    .section .rodata, "a"

    .macro work done
1:  test rdi, rdi
    jz \done
    mov rax, [rsi]
    lea rax, [rax + rax * 2]
    add rax, rdi
    mov [rsi], rax
    add rsi, rdx
    dec rdi
    jmp 1b
    .endm

    .balign 64
    .global image_code, image_code_end
image_code:
    work 2f
2:  mov rbx, rcx                // EENTER left here where to go back to
    mov eax, 4                  // EEXIT
    .byte 0x0f, 0x01, 0xd7      // ENCLU
image_code_end:

    // The same at the door, outside: it ends in an exit of the processor.
    .balign 64
    .global work_outside, work_outside_end
work_outside:
    work 2f
2:  vmcall
work_outside_end:

    // And in a program: void work_here(uint64_t rounds, uint64_t* word, uint64_t stride).
    .text
    .balign 64
    .global work_here
work_here:
    work 2f
2:  ret

    .section .note.GNU-stack, "", @progbits
