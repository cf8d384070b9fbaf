# A pointer to something in a section that is not loaded: Xen stores the offset that the symbol holds.

        .text
replacement:
        ret
        .size   replacement, . - replacement
        .livepatch_func "xen_extra_version", replacement, 12
        .section .rodata, "a", @progbits
        .quad   remark
        .section .comment, "", @progbits
        .zero   16
remark:
        .asciz  "not loaded"
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
