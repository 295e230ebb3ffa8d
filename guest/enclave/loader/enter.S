// int enter_enclave(struct enclave_call* call, uint64_t reason, uint64_t leaf, struct sgx_enclave_run* run, void* vdso)
//
// __vdso_sgx_enter_enclave passes RDI and RSI on, and takes the leaf in ECX and `run` on the stack. The enclave, and an
// asynchronous exit even more so, give back neither the registers that a function has to preserve nor the floating-point
// modes (Linux, asm/sgx.h): this function does.
    .text
    .global enter_enclave
enter_enclave:
    push %rbp
    mov %rsp, %rbp
    .irp register, rbx, r12, r13, r14, r15
    push %\register
    .endr
    sub $16, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    push %rcx
    mov %r8, %rax
    mov %rdx, %rcx
    xor %edx, %edx
    xor %r8d, %r8d
    xor %r9d, %r9d
    call *%rax
    add $8, %rsp
    fninit
    fldcw 4(%rsp)
    ldmxcsr (%rsp)
    add $16, %rsp
    .irp register, r15, r14, r13, r12, rbx, rbp
    pop %\register
    .endr
    ret
    .section .note.GNU-stack, "", @progbits
