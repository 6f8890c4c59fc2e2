# probe_write(rdi = to, rsi = value) -> al = whether it was written. The read is in mm/user.s.

.text
.balign 16
.global probe_write
probe_write:
40: movq %rsi, (%rdi)
    movl $1, %eax
    ret
41: xorl %eax, %eax
    ret
    .pushsection .ex_table, "a"
    .balign 8
    .quad 40b, 41b
    .popsection
