# An alternative call through a pointer that stays NULL on the emulated machine: Xen writes UD2 over the call.
        .text
        .balign 16
        .type   replacement, @function
replacement:
site:
        call    *iommu_ops(%rip)
        ret
        .size   replacement, . - replacement
        .section .altinstr_replacement, "ax", @progbits
self:
        call    self
        .section .altinstructions, "a", @progbits
        .long   site - ., self - .
        .short  93
        .byte   6, 5, 0, 0
        .livepatch_func "hvm_set_cr4", replacement, 16
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
