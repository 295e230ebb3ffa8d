// From the PVH entry (Xen's public header arch-x86/hvm/start_info.h: 32-bit flat protected mode, paging off, EBX =
// hvm_start_info) to 64-bit mode (SDM vol. 3A, 9.8.5), and the call of payload_main.

#include "layout.h"

        .section .note.pvh, "a", @note
        .balign 4
        .long 4, 8, 18                  // XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .quad start32

        .section .text.boot, "ax"
        .code32
        .globl start32, start32_again
start32_again:                          // after a sleep: what was started is the same
        movl start_info, %ebx
start32:
        cli
        cld
        movl %ebx, start_info
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
        lgdt boot_gdtr
        ljmp $KERNEL_CS, $start64

        .code64
start64:
        movl $KERNEL_DS, %eax
        movl %eax, %ss
        movl %eax, %ds
        movl %eax, %es
        xorl %eax, %eax
        movl %eax, %fs
        movl %eax, %gs
        leaq main_stack_top(%rip), %rsp
        xorl %ebp, %ebp
        call payload_main
1:      cli
        hlt
        jmp 1b

        .section .data.boot, "aw"
        .balign 8
        .globl boot_gdt
boot_gdt:
        .quad 0
        .quad 0x00cf9b000000ffff        // 0x08 32-bit code
        .quad 0x00af9b000000ffff        // 0x10 64-bit code
        .quad 0x00cf93000000ffff        // 0x18 data
boot_gdtr:
        .word boot_gdtr - boot_gdt - 1
        .quad boot_gdt
        .globl start_info
start_info:
        .quad 0

// The first gibibyte, one to one.
        .balign 4096
        .globl boot_pml4
boot_pml4:
        .quad boot_pdpt + 3
        .fill 511, 8, 0
boot_pdpt:
        .quad boot_pd + 3
        .fill 511, 8, 0
boot_pd:
        .set frame, 0
        .rept 512
        .quad frame + 0x83
        .set frame, frame + 0x200000
        .endr

        .bss
        .balign 4096
        .fill 65536
        .globl main_stack_top
main_stack_top:

        .section .note.GNU-stack, "", @progbits
