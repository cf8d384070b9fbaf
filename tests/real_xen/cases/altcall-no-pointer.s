# As altcall-boot-pointer.s, but what is called through is not a pointer but two modes, 0x100000001 at run time. Xen reads the
# target to look for ENDBR64, and crashes.
        .text
        .balign 16
        .type   replacement, @function
replacement:
site:
        call    *genapic + 16(%rip)
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
