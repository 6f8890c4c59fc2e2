# A program for ring 3. It runs at 0x400000, wherever it is linked: only relative jumps.
#
# Calls, number in rax: 1 adds rdi, rsi, rdx, r10, r8 and r9; 2 ends with status rdi.

.section .rodata.ring3, "a"
.balign 16
.global ring3_start
.global ring3_end
ring3_start:
    # A call keeps every register but rax, rcx and r11, and all of XMM.
    movabsq $0x0123456789abcdef, %rbx
    movq %rbx, %xmm0
    movq %rbx, %xmm15
    movq $1, %rdi
    movq $20, %rsi
    movq $300, %rdx
    movq $4000, %r10
    movq $50000, %r8
    movq $600000, %r9
    movl $1, %eax
    syscall
    cmpq $654321, %rax
    jne failed_call
    cmpq $1, %rdi
    jne failed_registers
    cmpq $20, %rsi
    jne failed_registers
    cmpq $300, %rdx
    jne failed_registers
    cmpq $4000, %r10
    jne failed_registers
    cmpq $50000, %r8
    jne failed_registers
    cmpq $600000, %r9
    jne failed_registers
    movq %xmm0, %rax
    cmpq %rbx, %rax
    jne failed_xmm
    movq %xmm15, %rax
    cmpq %rbx, %rax
    jne failed_xmm

    # A page that is not there yet: the handler maps it, and the store happens.
    movq %rbx, 0x600000
    cmpq %rbx, 0x600000
    jne failed_demand

    # A breakpoint.
    int3

    # A timer interrupt, seen in the word the handler writes to the data page. AC is set, which must
    # not give the kernel access to user memory.
    pushfq
    orq $(1 << 18), (%rsp)
    popfq
1:  cmpq $0, 0x500000
    je 1b
    pushfq
    andq $~(1 << 18), (%rsp)
    popfq

    # The stack works, and the red zone is ours.
    movq %rbx, -128(%rsp)
    pushq %rbx
    popq %rax
    cmpq %rbx, %rax
    jne failed_registers

    # The kernel's half is out of reach: the handler ends the program with the error code.
    movabsq $0xffff888000100000, %rax
    movq (%rax), %rax
    movl $16, %edi
    jmp leave

failed_call:
    movl $17, %edi
    jmp leave
failed_registers:
    movl $18, %edi
    jmp leave
failed_xmm:
    movl $19, %edi
    jmp leave
failed_demand:
    movl $20, %edi
leave:
    movl $2, %eax
    syscall
    ud2

# Code of one instruction, to be called by the kernel.
.global ring3_ret
ring3_ret:
    ret
ring3_end:

.text
# enter_user(rdi = frame, rsi = where to keep rsp) -> rax = what leave_user passed.
.balign 16
.global enter_user
enter_user:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rsi)
    cli
    movq %rdi, %rsp
    jmp trap_return

# leave_user(rdi = the rsp kept by enter_user, rsi = result)
.global leave_user
leave_user:
    movq %rdi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    movq %rsi, %rax
    ret
