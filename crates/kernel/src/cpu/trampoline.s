# Where an application processor starts: real mode, at a page below 1 MiB.
#
# The code between trampoline_start and trampoline_end is copied there (smp.rs), with the parameters
# at its end filled in by the boot processor. It goes from real mode to long mode in one step, which
# is allowed once CR4, CR3 and EFER.LME are set, on the boot processor's boot tables: they have the
# identity map this page needs.

.set BASE, 0x8000

.section .rodata.trampoline, "a"
.balign 16
.global trampoline_start
.global trampoline_end
.global trampoline_parameters
trampoline_start:
.code16
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movl (parameter_cr4 - trampoline_start + BASE), %eax
    movl %eax, %cr4
    movl (parameter_cr3 - trampoline_start + BASE), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    movl (parameter_efer - trampoline_start + BASE), %eax
    xorl %edx, %edx
    wrmsr
    lgdtl (trampoline_gdtr - trampoline_start + BASE)
    movl (parameter_cr0 - trampoline_start + BASE), %eax
    movl %eax, %cr0
    ljmpl $0x08, $(trampoline_long - trampoline_start + BASE)

.code64
trampoline_long:
    movl $0x10, %eax
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movabsq $processor_entry, %rax
    jmp *%rax

.balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00af9a000000ffff
    .quad 0x00cf92000000ffff
trampoline_gdtr:
    .word . - trampoline_gdt - 1
    .long trampoline_gdt - trampoline_start + BASE

.balign 8
trampoline_parameters:
parameter_cr0: .long 0
parameter_cr3: .long 0
parameter_cr4: .long 0
parameter_efer: .long 0
trampoline_end:

# In the image, still on the boot tables: load the kernel's own, which have no identity map, and a
# stack. What to load stands in smp.rs's START.
.text
processor_entry:
    movq START+0(%rip), %rax
    movq %rax, %cr3
    movq START+8(%rip), %rsp
    movq START+16(%rip), %rdi
    xorl %ebp, %ebp
    pushq $0
    pushq $0
    call processor_main
    ud2
