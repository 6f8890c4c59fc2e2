# Copies that may fault. See user.rs.

.macro may_fault instruction, landing
    .pushsection .ex_table, "a"
    .balign 8
    .quad \instruction, \landing
    .popsection
.endm

.text

# user_copy(rdi = to, rsi = from, rdx = bytes) -> rax = bytes not copied.
# Quadwords, then the rest: REP MOVSQ is eight times as fast as REP MOVSB under emulation.
.balign 16
.global user_copy
user_copy:
    testb $1, SMAP_ENABLED(%rip)
    jz 1f
    stac
1:  movq %rdx, %rcx
    shrq $3, %rcx
    andl $7, %edx
10: rep movsq
    movl %edx, %ecx
11: rep movsb
    xorl %eax, %eax
2:  testb $1, SMAP_ENABLED(%rip)
    jz 3f
    clac
3:  ret
20: leaq (%rdx,%rcx,8), %rax            # quadwords left, and the rest
    jmp 2b
21: movq %rcx, %rax
    jmp 2b
    may_fault 10b, 20b
    may_fault 11b, 21b

# probe_read(rdi = from, rsi = to) -> al = whether it was read.
.balign 16
.global probe_read
probe_read:
30: movq (%rdi), %rax
    movq %rax, (%rsi)
    movl $1, %eax
    ret
31: xorl %eax, %eax
    ret
    may_fault 30b, 31b

# user_compare_exchange(rdi = at, esi = expected, edx = new, rcx = found) -> al = whether it was done.
.balign 16
.global user_compare_exchange
user_compare_exchange:
    testb $1, SMAP_ENABLED(%rip)
    jz 1f
    stac
1:  movl %esi, %eax
40: lock cmpxchgl %edx, (%rdi)
    movl %eax, %esi
    movl $1, %eax
2:  testb $1, SMAP_ENABLED(%rip)
    jz 3f
    clac
3:  movl %esi, (%rcx)
    ret
41: xorl %eax, %eax
    jmp 2b
    may_fault 40b, 41b
