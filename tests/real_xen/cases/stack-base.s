# The base of a stack of two.

        .text
        .type   new_base, @function
new_base:
        lea     .Lmessage(%rip), %rax
        ret
        .size   new_base, . - new_base
        .section .rodata, "a", @progbits
.Lmessage:
        .asciz  "-base"
        .livepatch_func "xen_extra_version", new_base, 12
        .modinfo "part=base"
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
