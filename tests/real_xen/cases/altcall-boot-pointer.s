# An alternative call through a pointer that Xen sets while it boots: 0 in xen-syms. Xen reads it when it loads the payload
# and makes the call direct.
        .text
        .balign 16
        .type   replacement, @function
replacement:
site:
        call    *genapic + 24(%rip)
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
