# From one kernel stack to another. See context.rs.

.text
# switch_stacks(rdi = where to keep rsp, rsi = the rsp to go on with)
#
# Callers expect the general registers that a function preserves, and nothing else: XMM registers are not
# among them, and a program's are in its trap frame.
.balign 16
.global switch_stacks
switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

# Where a new task comes out of switch_stacks for the first time, with rsp at its trap frame.
# rbx = a kernel thread's function, or 0; r12 = its argument.
.balign 16
.global new_task
new_task:
    xorl %ebp, %ebp
    call task_first_run
    testq %rbx, %rbx
    jz trap_return
    pushq $0                            # backtraces end here
    pushq $0
    movq %rsp, %rbp
    movq %r12, %rdi
    sti                                 # the switch came with interrupts off
    call *%rbx
    ud2
