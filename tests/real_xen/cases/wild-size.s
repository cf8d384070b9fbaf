# A section whose offset and size add up to more than 64 bits: Xen's test does not see it, and Xen dies.
#! damage: section .rodata.big size -64

        .text
replacement:
        ret
        .size   replacement, . - replacement
        .livepatch_func "xen_extra_version", replacement, 12
        .section .rodata.big, "a", @progbits
        .zero   64
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
