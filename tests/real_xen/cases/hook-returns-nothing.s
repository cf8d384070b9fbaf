# A hook that sets no result: what stands in RAX is the pointer that it was called through.

        .text
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
.Lhook: ret
        .section .livepatch.hooks.apply, "aw", @progbits
        .quad   .Lhook
        .livepatch_func "hvm_gsi_assert", .Lnew, 64
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
