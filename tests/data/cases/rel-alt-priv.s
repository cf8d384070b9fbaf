        .text
        .balign 16
        .globl new
        .type new, @function
new:
site:   .byte 0x48, 0x83, 0xc0, 0x10
        ret
site2:  .byte 0x48, 0x83, 0xc0, 0x10
        ret
        .size new, . - new
        .pushsection .altinstr_replacement, "ax", @progbits
r1:     .byte 0x31, 0xc0
r2:     .byte 0x31, 0xdb
        .popsection
        .pushsection .altinstructions, "a", @progbits
        .long site - ., r1 - .
        .short 93
        .byte 4, 2, 0, 1
        .long site2 - ., r1 - .
        .short 7*32
        .byte 4, 2, 0, 0
        .long site2 - ., r2 - .
        .short 93
        .byte 4, 2, 0, 0
        .popsection
        .livepatch_func "xen_minor_version", new, 5, 0, sizeof(new), 1
        .livepatch_depends xen
        .build_id sha1
