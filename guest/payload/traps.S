// The exception catcher: 256 entry points, and two ways to run code under it. Whatever arrives is shown to on_trap() as
// a Frame; if that does not want to resume, control returns from enter() or attempt(), by IRET, so that NMI blocking
// ends as well (SDM vol. 3A, 6.7.1).

#include "layout.h"

        .text
        .code64

        .globl trap_stubs
        .balign 16
trap_stubs:
        .set n, 0
        .rept 256
        .balign 16
        .if !((n == 8) || (n >= 10 && n <= 14) || (n == 17) || (n == 21))
        pushq $0
        .endif
        pushq $n
        jmp trap_common
        .set n, n + 1
        .endr

        .macro push_all
        pushq %r15
        pushq %r14
        pushq %r13
        pushq %r12
        pushq %r11
        pushq %r10
        pushq %r9
        pushq %r8
        pushq %rdi
        pushq %rsi
        pushq %rbp
        pushq %rsp
        pushq %rbx
        pushq %rdx
        pushq %rcx
        pushq %rax
        .endm

        .macro pop_all
        popq %rax
        popq %rcx
        popq %rdx
        popq %rbx
        leaq 8(%rsp), %rsp
        popq %rbp
        popq %rsi
        popq %rdi
        popq %r8
        popq %r9
        popq %r10
        popq %r11
        popq %r12
        popq %r13
        popq %r14
        popq %r15
        .endm

trap_common:
        cld
        push_all
        movq %rsp, %rdi
        movq %rsp, %r12
        andq $-16, %rsp
        call on_trap
        testb %al, %al
        jz 1f
        movq %r12, %rsp
        pop_all
        addq $16, %rsp
        iretq
1:      movq recover_rsp(%rip), %rax
        pushq $KERNEL_DS
        pushq %rax
        pushq $2
        pushq $KERNEL_CS
        leaq recovered(%rip), %rax
        pushq %rax
        iretq
recovered:
        movl $KERNEL_DS, %eax
        movl %eax, %ds
        movl %eax, %es
        movl $1, %eax
        jmp leave_guard

        .macro enter_guard
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        subq $8, %rsp
        movq %rsp, recover_rsp(%rip)
        .endm

// bool attempt(void (*function)(void*), void* argument): true if it trapped.
        .globl attempt_call
attempt_call:
        enter_guard
        movq %rdi, %rax
        movq %rsi, %rdi
        call *%rax
        xorl %eax, %eax
leave_guard:
        movq $0, recover_rsp(%rip)
        addq $8, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret

// void enter(const Context*): loads every register, by IRET; the next trap that is not resumed comes back from here.
        .globl enter, enter_iret
enter:
        enter_guard
        pushq 168(%rdi)                 // ss
        pushq 160(%rdi)                 // rsp
        pushq 152(%rdi)                 // rflags
        pushq 144(%rdi)                 // cs
        pushq 136(%rdi)                 // rip
        movq 128(%rdi), %rax            // data segments
        movl %eax, %ds
        movl %eax, %es
        movq 0(%rdi), %rax
        movq 8(%rdi), %rcx
        movq 16(%rdi), %rdx
        movq 24(%rdi), %rbx
        movq 40(%rdi), %rbp
        movq 48(%rdi), %rsi
        movq 64(%rdi), %r8
        movq 72(%rdi), %r9
        movq 80(%rdi), %r10
        movq 88(%rdi), %r11
        movq 96(%rdi), %r12
        movq 104(%rdi), %r13
        movq 112(%rdi), %r14
        movq 120(%rdi), %r15
        movq 56(%rdi), %rdi
enter_iret:
        iretq

        .bss
        .balign 8
        .globl recover_rsp
recover_rsp:
        .quad 0

        .section .note.GNU-stack, "", @progbits
