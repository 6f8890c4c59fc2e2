# Ways into the kernel and out of it: 256 vectors, and SYSCALL.
#
# Every way in builds the same TrapFrame (trap.rs), with all general and all XMM registers: the
# prebuilt core uses XMM, and so does the kernel. Its 16 moves cost a sixth of FXSAVE. The x87 and
# MXCSR are not touched by kernel code and belong to the task switch.
#
# Red zone. The prebuilt core was built with one: code in it keeps data up to 128 bytes below rsp. An
# interrupt on the same stack would overwrite that. So every vector switches to an interrupt stack
# (IST), and the code below copies the seven words it finds there to the interrupted stack, 128 bytes
# further down, and goes on there. The interrupt stack is in use only for these instructions, with
# interrupts off, so handlers nest and sleep as if it did not exist. A fault in that window (a kernel
# stack overflow) is a fault like any other, except that it runs on the interrupt stack and cannot
# return: it is fatal anyway.
#
# NMI, double fault and machine check can come at any instruction, also between the entry and its
# swapgs. They stay on interrupt stacks of their own and look at the sign of GS.base.
#
# Operands in curly brackets are constants of trap.rs.

# Stores the registers that no way in has stored before, at offsets from \base.
.macro save_registers base
    movq %rdx, {RDX}(\base)
    movq %rsi, {RSI}(\base)
    movq %rdi, {RDI}(\base)
    movq %r8, {R8}(\base)
    movq %r9, {R9}(\base)
    movq %r10, {R10}(\base)
    movq %r11, {R11}(\base)
    movq %rbx, {RBX}(\base)
    movq %rbp, {RBP}(\base)
    movq %r12, {R12}(\base)
    movq %r13, {R13}(\base)
    movq %r14, {R14}(\base)
    movq %r15, {R15}(\base)
    movaps %xmm0, {XMM}+0x00(\base)
    movaps %xmm1, {XMM}+0x10(\base)
    movaps %xmm2, {XMM}+0x20(\base)
    movaps %xmm3, {XMM}+0x30(\base)
    movaps %xmm4, {XMM}+0x40(\base)
    movaps %xmm5, {XMM}+0x50(\base)
    movaps %xmm6, {XMM}+0x60(\base)
    movaps %xmm7, {XMM}+0x70(\base)
    movaps %xmm8, {XMM}+0x80(\base)
    movaps %xmm9, {XMM}+0x90(\base)
    movaps %xmm10, {XMM}+0xa0(\base)
    movaps %xmm11, {XMM}+0xb0(\base)
    movaps %xmm12, {XMM}+0xc0(\base)
    movaps %xmm13, {XMM}+0xd0(\base)
    movaps %xmm14, {XMM}+0xe0(\base)
    movaps %xmm15, {XMM}+0xf0(\base)
.endm

# Loads all but rax, rcx, r11 and rsp from the frame at rsp.
.macro restore_registers
    movaps {XMM}+0x00(%rsp), %xmm0
    movaps {XMM}+0x10(%rsp), %xmm1
    movaps {XMM}+0x20(%rsp), %xmm2
    movaps {XMM}+0x30(%rsp), %xmm3
    movaps {XMM}+0x40(%rsp), %xmm4
    movaps {XMM}+0x50(%rsp), %xmm5
    movaps {XMM}+0x60(%rsp), %xmm6
    movaps {XMM}+0x70(%rsp), %xmm7
    movaps {XMM}+0x80(%rsp), %xmm8
    movaps {XMM}+0x90(%rsp), %xmm9
    movaps {XMM}+0xa0(%rsp), %xmm10
    movaps {XMM}+0xb0(%rsp), %xmm11
    movaps {XMM}+0xc0(%rsp), %xmm12
    movaps {XMM}+0xd0(%rsp), %xmm13
    movaps {XMM}+0xe0(%rsp), %xmm14
    movaps {XMM}+0xf0(%rsp), %xmm15
    movq {RDX}(%rsp), %rdx
    movq {RSI}(%rsp), %rsi
    movq {RDI}(%rsp), %rdi
    movq {R8}(%rsp), %r8
    movq {R9}(%rsp), %r9
    movq {R10}(%rsp), %r10
    movq {RBX}(%rsp), %rbx
    movq {RBP}(%rsp), %rbp
    movq {R12}(%rsp), %r12
    movq {R13}(%rsp), %r13
    movq {R14}(%rsp), %r14
    movq {R15}(%rsp), %r15
.endm

# SMAP: a user may enter with AC set, which would switch the protection off. CLAC faults on
# processors without SMAP, hence the test.
.macro clear_ac
    testb $1, SMAP_ENABLED(%rip)
    jz 77f
    clac
77:
.endm

.text

# One stub of 16 bytes per vector. It completes what the processor pushed to seven words: vector,
# error code, rip, cs, rflags, rsp, ss.
.balign 16
.global trap_stubs
trap_stubs:
.set vector, 0
.rept 256
    .balign 16
    # 8, 10 to 14, 17, 21, 29 and 30 push an error code.
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
        pushq $0
    .endif
    pushq $vector
    .if vector == 2 || vector == 8 || vector == 18
        jmp trap_anywhere
    .else
        jmp trap_common
    .endif
    .set vector, vector + 1
.endr

.balign 16
trap_common:
    pushq %rax
    pushq %rcx
    cld
    clear_ac
    testb $3, 16+24(%rsp)               # cs
    jz 1f
    swapgs
    movq %gs:{KERNEL_STACK_TOP}, %rax
    jmp 2f
1:  movq 16+40(%rsp), %rax              # the interrupted rsp
    subq $128, %rax                     # skip the red zone
    andq $-16, %rax
2:  subq ${FRAME_SIZE}, %rax
    movq 16+0(%rsp), %rcx
    movq %rcx, {VECTOR}(%rax)
    movq 16+8(%rsp), %rcx
    movq %rcx, {ERROR}(%rax)
    movq 16+16(%rsp), %rcx
    movq %rcx, {RIP}(%rax)
    movq 16+24(%rsp), %rcx
    movq %rcx, {CS}(%rax)
    movq 16+32(%rsp), %rcx
    movq %rcx, {RFLAGS}(%rax)
    movq 16+40(%rsp), %rcx
    movq %rcx, {RSP}(%rax)
    movq 16+48(%rsp), %rcx
    movq %rcx, {SS}(%rax)
    movq 8(%rsp), %rcx
    movq %rcx, {RAX}(%rax)
    movq 0(%rsp), %rcx
    movq %rcx, {RCX}(%rax)
    movq %rax, %rsp                     # the interrupt stack is free again
    save_registers %rsp

    # Push what looks like a stack frame of the interrupted function, so that backtraces include it.
    movq %rsp, %rdi
    testb $3, {CS}(%rdi)
    jz 3f
    pushq $0
    pushq $0
    jmp 4f
3:  pushq {RIP}(%rdi)
    pushq {RBP}(%rdi)
4:  movq %rsp, %rbp
    call trap_dispatch
    addq $16, %rsp

# Leaves the kernel, or the handler, through the frame at rsp.
.global trap_return
trap_return:
    cli                                 # from here on GS and the stack are half the user's
    restore_registers
    movq {RAX}(%rsp), %rax
    movq {RCX}(%rsp), %rcx
    movq {R11}(%rsp), %r11
    testb $3, {CS}(%rsp)
    jz 5f
    swapgs
5:  addq ${RIP}, %rsp
    iretq

# NMI, double fault, machine check: on their own interrupt stack to the end.
.balign 16
trap_anywhere:
    subq ${VECTOR}, %rsp                # what is above the seven words
    cld
    movq %rax, {RAX}(%rsp)
    movq %rcx, {RCX}(%rsp)
    save_registers %rsp
    clear_ac
    xorl %ebx, %ebx
    movl $0xc0000101, %ecx              # GS.base
    rdmsr
    testl %edx, %edx
    js 1f                               # the kernel's half: GS is ours already
    swapgs
    incl %ebx
1:  movq %rsp, %rdi
    pushq {RIP}(%rdi)
    pushq {RBP}(%rdi)
    movq %rsp, %rbp
    call trap_dispatch
    addq $16, %rsp
    testl %ebx, %ebx
    jz 2f
    swapgs
2:  restore_registers
    movq {RAX}(%rsp), %rax
    movq {RCX}(%rsp), %rcx
    movq {R11}(%rsp), %r11
    addq ${RIP}, %rsp
    iretq

# SYSCALL: rcx = return address, r11 = rflags, everything else the user's, interrupts off (SFMASK).
.balign 16
.global syscall_entry
syscall_entry:
    swapgs
    movq %rsp, %gs:{USER_RSP}
    movq %gs:{KERNEL_STACK_TOP}, %rsp
    subq ${FRAME_SIZE}, %rsp
    movq %rax, {RAX}(%rsp)
    movq %rcx, {RCX}(%rsp)
    save_registers %rsp
    movq %rax, {ERROR}(%rsp)            # the call's number outlives the result in rax
    movq ${SYSCALL}, {VECTOR}(%rsp)
    movq %rcx, {RIP}(%rsp)
    movq ${USER_CODE}, {CS}(%rsp)
    movq %r11, {RFLAGS}(%rsp)
    movq %gs:{USER_RSP}, %rax
    movq %rax, {RSP}(%rsp)
    movq ${USER_DATA}, {SS}(%rsp)
    movq %rsp, %rdi
    pushq $0
    pushq $0
    movq %rsp, %rbp
    call syscall_dispatch               # al: whether SYSRET gets everything back
    addq $16, %rsp
    cli
    testb %al, %al
    jz trap_return
    restore_registers
    movq {RAX}(%rsp), %rax
    movq {RIP}(%rsp), %rcx
    movq {RFLAGS}(%rsp), %r11
    movq {RSP}(%rsp), %rsp
    swapgs
    sysretq
