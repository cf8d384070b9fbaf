# A function's name is a pointer that leads nowhere: it is accepted, and whoever prints it dies.

        .text
replacement:
        ret
        .size   replacement, . - replacement
        .section .livepatch.funcs, "aw", @progbits
        .quad   0x1234, replacement, xen_extra_version
        .long   1, 12
        .byte   2
        .zero   71
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
