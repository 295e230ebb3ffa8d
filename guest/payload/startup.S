// What the other processors run first (SDM vol. 3A, 8.4.4): from real mode at the startup vector to 64-bit mode, on
// page tables and a GDT that no case changes, and into processor_main with a number and a stack of their own.

#include "layout.h"

        .section .rodata
        .globl startup_begin, startup_end
        .code16
startup_begin:                          // copied to startup_page:0
        cli
        cld
        movw %cs, %ax
        movw %ax, %ds
        lgdtl startup_gdtr - startup_begin
        movl $(CR0_PE | CR0_ET), %eax
        movl %eax, %cr0
        ljmpl $KERNEL_CS32, $startup32
        .balign 4
startup_gdtr:
        .word 31
        .long boot_gdt
startup_end:

        .text
        .code32
startup32:
        movl $KERNEL_DS, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $boot_pml4, %eax
        movl %eax, %cr3
        movl $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
        movl %eax, %cr4
        movl $0xc0000080, %ecx
        xorl %edx, %edx
        movl $(EFER_SCE | EFER_LME | EFER_NXE), %eax
        wrmsr
        movl $(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG), %eax
        movl %eax, %cr0
        ljmp $KERNEL_CS, $startup64
        .code64
startup64:
        xorl %eax, %eax
        movl %eax, %fs
        movl %eax, %gs
        movl $1, %edi
        lock xaddl %edi, started(%rip)  // its number, from 1 on
        movl %edi, %eax
        shll $12, %eax
        leaq stacks(%rip), %rsp
        addq %rax, %rsp
        xorl %ebp, %ebp
        fninit
        call processor_main
1:      cli
        hlt
        jmp 1b

        .data
        .balign 4
started:
        .long 1

        .bss
        .balign 4096
stacks:
        .fill 16 * 4096                 // the first belongs to nobody: processor 1's ends where it would

        .section .note.GNU-stack, "", @progbits
