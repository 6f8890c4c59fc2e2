# From the PVH loader's 32-bit protected mode to 64-bit Rust in the top 2 GiB.
#
# The loader enters at pvh_start with paging off, flat segments and EBX = physical address of the
# start info. The code builds page tables that map the first 4 GiB three times (2 MiB pages):
#
#   at 0                    because this code runs there; application processors start here too
#   at the direct map       so that Rust reads physical memory the way it always will
#   at KERNEL_BASE          (1 GiB only) where the image is linked
#
# They are writable and executable throughout, and used only until mm/kernel_tables.rs has made the
# tables with the right permissions, and by application processors for a few instructions.
#
# Five levels are used when CPUID has LA57 and the command line has no "nola57". CR4.LA57 cannot be
# changed once paging is on, so this must be decided here.

# The note that makes a loader use PVH: XEN_ELFNOTE_PHYS32_ENTRY.
.section .note.pvh, "a", @note
.balign 4
.long 4, 8, 18
.asciz "Xen"
.quad pvh_start

.set KBASE, 0xffffffff80000000
.set PRESENT_WRITABLE, 0x03
.set LARGE_PAGE, 0x83
# PML4 slot of the direct map, 0xffff888000000000. Checked against mm/layout.rs in boot/mod.rs.
.set DIRECT_MAP_SLOT, 273

.section .boot.bss, "aw", @nobits
.balign 4096
.global boot_pml5
.global boot_tables_end
boot_pml5: .skip 4096
.global boot_pml4
boot_pml4: .skip 4096
boot_pdpt_low: .skip 4096
boot_pdpt_image: .skip 4096
boot_pd: .skip 4 * 4096
boot_tables_end:

.section .boot.text, "ax", @progbits
.balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff            # 0x08: 64-bit code
    .quad 0x00cf92000000ffff            # 0x10: data
boot_gdtr:
    .word . - boot_gdt - 1
    .long boot_gdt

.code32
.global pvh_start
pvh_start:
    cli
    cld
    movl %ebx, %ebp                     # the start info survives in EBP

    # Long mode (bit 29) and no-execute (bit 20) are required; every x86-64 processor since 2005 has both.
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb unsupported
    movl $0x80000001, %eax
    cpuid
    andl $(1 << 29 | 1 << 20), %edx
    cmpl $(1 << 29 | 1 << 20), %edx
    jne unsupported

    # EDI = 1: five levels.
    xorl %edi, %edi
    xorl %eax, %eax
    cpuid
    cmpl $7, %eax
    jb fill_tables
    movl $7, %eax
    xorl %ecx, %ecx
    cpuid
    testl $(1 << 16), %ecx
    jz fill_tables
    movl $1, %edi
    movl 24(%ebp), %esi                 # command line, 0 when there is none
    testl %esi, %esi
    jz fill_tables
find_nola57:
    cmpb $0, (%esi)
    je fill_tables
    cmpl $0x616c6f6e, (%esi)            # "nola"
    jne next_letter
    cmpw $0x3735, 4(%esi)               # "57"
    jne next_letter
    xorl %edi, %edi
    jmp fill_tables
next_letter:
    incl %esi
    jmp find_nola57

fill_tables:
    # 4 x 512 entries of 2 MiB.
    movl $boot_pd, %esi
    movl $LARGE_PAGE, %eax
    xorl %edx, %edx
    movl $(4 * 512), %ecx
1:  movl %eax, (%esi)
    movl %edx, 4(%esi)
    addl $8, %esi
    addl $(2 << 20), %eax
    adcl $0, %edx
    loop 1b

    movl $(boot_pd + PRESENT_WRITABLE), %eax
    movl %eax, boot_pdpt_image + 510 * 8
    movl $boot_pdpt_low, %esi
    movl $4, %ecx
2:  movl %eax, (%esi)
    addl $4096, %eax
    addl $8, %esi
    loop 2b

    movl $(boot_pdpt_low + PRESENT_WRITABLE), %eax
    movl %eax, boot_pml4
    movl %eax, boot_pml4 + DIRECT_MAP_SLOT * 8
    movl $(boot_pdpt_image + PRESENT_WRITABLE), boot_pml4 + 511 * 8
    movl $(boot_pml4 + PRESENT_WRITABLE), %eax
    movl %eax, boot_pml5
    movl %eax, boot_pml5 + 511 * 8

    # PAE, OSFXSR and OSXMMEXCPT: Rust uses SSE from its first instruction. LA57 is bit 12.
    movl $(1 << 5 | 1 << 9 | 1 << 10), %eax
    movl $boot_pml4, %edx
    testl %edi, %edi
    jz 3f
    orl $(1 << 12), %eax
    movl $boot_pml5, %edx
3:  movl %eax, %cr4
    movl %edx, %cr3

    # EFER: SCE (0), LME (8), NXE (11).
    movl $0xc0000080, %ecx
    rdmsr
    orl $(1 << 0 | 1 << 8 | 1 << 11), %eax
    wrmsr

    # CR0: PE (0), MP (1), ET (4), NE (5), WP (16), AM (18), PG (31); EM and TS clear. AM lets programs ask for alignment checks; it
    # means nothing in ring 0, where AC is SMAP's.
    movl $0x80050033, %eax
    movl %eax, %cr0
    lgdt boot_gdtr
    ljmp $0x08, $long_mode

# No long mode: say so on COM1, fail through isa-debug-exit, stop.
unsupported:
    movl $message, %esi
4:  movb (%esi), %al
    testb %al, %al
    jz 5f
    movw $0x3f8, %dx
    outb %al, %dx
    incl %esi
    jmp 4b
5:  movl $0x11, %eax
    movw $0xf4, %dx
    outl %eax, %dx
6:  hlt
    jmp 6b
message: .asciz "this kernel needs long mode and no-execute\r\n"

.code64
long_mode:
    movl $0x10, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movabsq $image_entry, %rax
    jmp *%rax

.text
image_entry:
    movq $boot_stack_top, %rsp
    movl %ebp, %edi                     # start info, zero-extended
    xorl %ebp, %ebp                     # backtraces end here
    pushq $0
    pushq $0
    call kernel_main
    ud2

# The boot processor's first stack; it becomes its idle stack.
.bss
.balign 4096
.global boot_stack
boot_stack: .skip 65536
.global boot_stack_top
boot_stack_top:
