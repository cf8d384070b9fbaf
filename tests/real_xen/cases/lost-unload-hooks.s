# A table of unload hooks that is not loaded: Xen walks it through a NULL pointer at revert.

        .text
        .balign 16
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
        .section .livepatch.hooks.unload, "", @progbits
        .quad   0
        .livepatch_func "hvm_gsi_assert", .Lnew, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a2
