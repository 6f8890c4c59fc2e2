# Code that keeps values in every register, and below its stack pointer, while interrupts come.

.text
# hold_still(rdi = stop flag, rsi = results)
#
# Fills xmm0 to xmm15 from the first 256 bytes of the results, general registers and the 16 words of
# the red zone with numbers, and spins until the flag is set. Then stores: 16 XMM registers, the red
# zone, and the general registers.
.balign 16
.global hold_still
hold_still:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movups (16 * \n)(%rsi), %xmm\n
    movq $(0x5ed0000 + \n), -8 * (\n + 1)(%rsp)
    .endr
    movq $0xb1, %rbx
    movq $0xb2, %rbp
    movq $0x08, %r8
    movq $0x09, %r9
    movq $0x10, %r10
    movq $0x11, %r11
    movq $0x12, %r12
    movq $0x13, %r13
    movq $0x14, %r14
    movq $0x15, %r15
    movq $0xa1, %rax
    movq $0xc1, %rcx
    movq $0xd1, %rdx
1:  cmpb $0, (%rdi)
    je 1b
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movups %xmm\n, (16 * \n)(%rsi)
    .endr
    movq %rax, (384 + 0)(%rsi)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movq -8 * (\n + 1)(%rsp), %rax
    movq %rax, (256 + 8 * \n)(%rsi)
    .endr
    movq %rcx, (384 + 8)(%rsi)
    movq %rdx, (384 + 16)(%rsi)
    movq %rbx, (384 + 24)(%rsi)
    movq %rbp, (384 + 32)(%rsi)
    movq %r8, (384 + 40)(%rsi)
    movq %r9, (384 + 48)(%rsi)
    movq %r10, (384 + 56)(%rsi)
    movq %r11, (384 + 64)(%rsi)
    movq %r12, (384 + 72)(%rsi)
    movq %r13, (384 + 80)(%rsi)
    movq %r14, (384 + 88)(%rsi)
    movq %r15, (384 + 96)(%rsi)
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
