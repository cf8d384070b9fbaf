# What a payload says of itself, longer than Xen's buffer for one line, and in many parts.

        .text
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
        .section .modinfo, "a", @progbits
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .ascii  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        .byte   0
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .ascii  "q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0q=1\0"
        .livepatch_func "hvm_gsi_assert", .Lnew, 64
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
