// The door of an enclave. EENTER comes here with RAX = CSSA, RBX = TCS, RCX = where EEXIT has to go; the program
// passes RDI = its struct enclave_call and RSI = the reason.
//
// Around the TCS lie (as cloister-enclave lays a thread out): the stack right below it, two pages of thread data right
// above it, where GS points, and then the state save areas. The thread data begin with a struct thread; their end is
// the stack of the exception handler, which must not touch the one that was interrupted.

.set PAGE, 4096
.set THREAD_DATA_END, 3 * PAGE  // from the TCS
.set EEXIT, 4

// struct thread
.set OCALL_RSP, 0               // of the ocall that is under way, or 0
.set CALLER, 8                  // RSP, RBP and RIP of the program, at CSSA 0
.set HANDLER_CALLER, 32         // the same at CSSA 1

.macro save_caller at
    mov %rsp, %gs:\at
    mov %rbp, %gs:\at + 8
    mov %rcx, %gs:\at + 16
.endm

// The program chose the flags and the floating-point modes that we came with.
.macro default_modes
    push $2
    popfq
    ldmxcsr default_mxcsr(%rip)
    fninit
.endm

// EEXIT leaves every register as it is: none may hold the enclave's data.
.macro leave_to at
    mov %gs:\at, %rsp
    mov %gs:\at + 8, %rbp
    mov %gs:\at + 16, %rbx
    .irp register, ecx, edx, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
    xor %\register, %\register
    .endr
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    pxor %xmm\n, %xmm\n
    .endr
    // FNINIT leaves the x87 registers' contents, which eight loads replace.
    fninit
    .rept 8
    fldz
    .endr
    fninit
    ldmxcsr default_mxcsr(%rip)
    mov $EEXIT, %eax
    enclu
    ud2
.endm

    .section .text.entry, "ax"
    .global enclave_entry
enclave_entry:
    cld
    cmp $1, %rax
    je handle_exception
    ja turn_away
    save_caller CALLER
    mov %gs:OCALL_RSP, %rax
    cmp $1, %rsi                // ENTER_OCALL_RETURN
    je ocall_returns
    test %rsi, %rsi             // ENTER_ECALL
    jnz leave
    test %rax, %rax             // this thread is inside already, and waits for its ocall
    jnz leave
    mov %rbx, %rsp
    default_modes
    xor %ebp, %ebp
    call enclave_ecall_door
leave:
    leave_to CALLER

// void leave_for_ocall(void): goes out, and returns when the program returns from the ocall.
    .global leave_for_ocall
leave_for_ocall:
    .irp register, rbp, rbx, r12, r13, r14, r15
    push %\register
    .endr
    mov %rsp, %gs:OCALL_RSP
    jmp leave
ocall_returns:
    test %rax, %rax
    jz leave
    mov %rax, %rsp
    movq $0, %gs:OCALL_RSP
    default_modes
    .irp register, r15, r14, r13, r12, rbx, rbp
    pop %\register
    .endr
    ret

handle_exception:
    save_caller HANDLER_CALLER
    cmp $2, %rsi                // ENTER_EXCEPTION
    jne 1f
    lea THREAD_DATA_END(%rbx), %rsp
    default_modes
    lea THREAD_DATA_END(%rbx), %rsi  // the first state save area
    xor %ebp, %ebp
    call enclave_exception_door
1:  leave_to HANDLER_CALLER

// Deeper than the handler: nothing is saved, nothing was touched.
turn_away:
    mov %rcx, %rbx
    mov $EEXIT, %eax
    enclu
    ud2

// The place for cloister-enclave's numbers. It is here because a compiler that saw zeros would count on them.
    .section .enclave_layout, "a"
    .global enclave_layout
enclave_layout:
    .zero 48

    .section .rodata
    .balign 4
default_mxcsr:
    .long 0x1f80
    .section .note.GNU-stack, "", @progbits
