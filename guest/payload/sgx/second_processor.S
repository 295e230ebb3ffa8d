// The second processor's way into an enclave: from the start-up IPI (SDM vol. 3A, 8.4.4: real mode, at the vector's
// page) straight to 64-bit mode, then to user mode at the address that it is given. SYSCALL ends its work.

#include "../layout.h"

        .text
        .code16
        .globl second_start, second_start_end
second_start:
        cli
        movw %cs, %ax
        movw %ax, %ds
        lgdtl second_gdtr - second_start
        movl $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
        movl %eax, %cr4
        movl $boot_pml4, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        xorl %edx, %edx
        movl $(EFER_SCE | EFER_LME | EFER_NXE), %eax
        wrmsr
        movl $(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG), %eax
        movl %eax, %cr0
        ljmpl $KERNEL_CS, $second_start64
second_gdtr:
        .word 31
        .long boot_gdt
second_start_end:

        .code64
second_start64:
        incl second_started
        movq second_registers(%rip), %rax
        movq %rax, %cr3
        movl $KERNEL_DS, %eax
        movl %eax, %ss
        lgdt second_own_gdtr
        movl $USER_DS | 3, %eax
        movl %eax, %ds
        movl %eax, %es
        movl $0xc0000081, %ecx          // IA32_STAR
        xorl %eax, %eax
        movl $KERNEL_CS, %edx
        wrmsr
        movl $0xc0000082, %ecx          // IA32_LSTAR
        movl $second_rest, %eax
        xorl %edx, %edx
        wrmsr
        leaq second_registers(%rip), %rdi
        movl $2, %eax                   // EENTER
        movq 8(%rdi), %rbx
        movq 16(%rdi), %rcx
        movq 24(%rdi), %rsi
        leaq second_stack_top(%rip), %rsp
        pushq $(USER_DS | 3)
        pushq 40(%rdi)
        pushq $2
        pushq $(USER_CS | 3)
        pushq 32(%rdi)
        iretq
second_rest:
        movl $boot_pml4, %eax           // the first processor is about to remake the others
        movq %rax, %cr3
        incl second_out
1:      hlt
        jmp 1b

        .data
        .balign 8
second_own_gdtr:
        .word 1023
        .quad gdt

// CR3; RBX, RCX, RSI, RIP and RSP of user mode.
        .bss
        .balign 16
        .globl second_registers, second_out
second_out:
        .long 0
        .globl second_started
second_started:
        .long 0
second_registers:
        .fill 6, 8
        .fill 256
second_stack_top:

        .section .note.GNU-stack, "", @progbits
