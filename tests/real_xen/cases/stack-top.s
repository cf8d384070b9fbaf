# The top of a stack of two.

        .text
        .type   new_top, @function
new_top:
        lea     .Lmessage(%rip), %rax
        ret
        .size   new_top, . - new_top
        .section .rodata, "a", @progbits
.Lmessage:
        .asciz  "-top"
        .livepatch_func "xen_extra_version", new_top, 12
        .modinfo "part=top"
        .livepatch_depends a1
        .livepatch_xen_depends xen
        .build_id a2
