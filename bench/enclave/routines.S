// What the processor at the door executes: one routine for each thing that is timed, which ends in VMCALL. Registers are
// set by machine.cpp.
    .intel_syntax noprefix
    .section .rodata, "a"

    .macro encls leaf
    mov eax, \leaf
    .byte 0x0f, 0x01, 0xcf
    .endm
    .macro enclu leaf
    mov eax, \leaf
    .byte 0x0f, 0x01, 0xd7
    .endm
    .macro routine name
    .balign 64
    .global routine_\name
routine_\name:
    .endm

    .balign 64
    .global routines, routines_end
routines:

// ECREATE, then EADD and 16 EEXTENDs for each page, then EINIT. RSI: a PAGEINFO for ECREATE. RDI: the SECS's page, which
// the others follow. R8, R9, R10: address, source and SECINFO of the first page. R13: pages. R14: SIGSTRUCT. R15: token.
// RAX: what EINIT returned.
    routine build
    mov rbx, rsi
    mov rcx, rdi
    encls 0
    mov [rsi], r8
    mov [rsi + 8], r9
    mov [rsi + 16], r10
    mov [rsi + 24], rdi
    lea r11, [rdi + 4096]
1:  mov rbx, rsi
    mov rcx, r11
    encls 1
    mov rbx, rdi
    mov r12d, 16
2:  encls 6
    add rcx, 256
    dec r12d
    jnz 2b
    add qword ptr [rsi], 4096
    add qword ptr [rsi + 8], 4096
    add qword ptr [rsi + 16], 64
    add r11, 4096
    dec r13
    jnz 1b
    mov rbx, r14
    mov rcx, rdi
    mov rdx, r15
    encls 2
    vmcall

// EREMOVE of R13 pages from R11 on and of the SECS at RDI. RBP: the error codes of all, or'ed.
    routine remove
    xor ebp, ebp
    mov rcx, r11
1:  encls 3
    or ebp, eax
    add rcx, 4096
    dec r13
    jnz 1b
    mov rcx, rdi
    encls 3
    or ebp, eax
    vmcall

// EPA of the page at RCX.
    routine version_array
    mov ebx, 3
    encls 10
    vmcall

// EBLOCK of R13 pages from R11 on, and ETRACK of the SECS at RDI. RBP: the error codes.
    routine block
    xor ebp, ebp
    mov rcx, r11
1:  encls 9
    or ebp, eax
    add rcx, 4096
    dec r13
    jnz 1b
    mov rcx, rdi
    encls 12
    or ebp, eax
    vmcall

// EWB and ELDU of R13 blocked pages from R11 on. RSI: PAGEINFO. RDI: SECS. R9, R10: where pages and PCMDs go. R12: slots.
// RBP: the error codes.
    routine page
    xor ebp, ebp
1:  mov qword ptr [rsi], 0
    mov [rsi + 8], r9
    mov [rsi + 16], r10
    mov qword ptr [rsi + 24], 0
    mov rbx, rsi
    mov rcx, r11
    mov rdx, r12
    encls 11
    or ebp, eax
    mov [rsi + 24], rdi
    encls 8
    or ebp, eax
    add r9, 4096
    add r10, 128
    add r11, 4096
    add r12, 8
    dec r13
    jnz 1b
    vmcall

// R13 times EENTER of the TCS at R14, which leaves by EEXIT; the last stay has R12 rounds of work.
    routine enter
1:  cmp r13, 1
    cmove rdi, r12
    mov rbx, r14
    lea rcx, [rip + 2f]
    enclu 2
    dec r13
    jnz 1b
    vmcall
2:  enclu 3
routines_end:

    .section .note.GNU-stack, "", @progbits
