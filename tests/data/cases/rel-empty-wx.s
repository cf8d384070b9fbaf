        .text
        .balign 16
        .globl new
        .type new, @function
new:
        xor %eax, %eax
        ret
        .size new, . - new
        .pushsection .empty, "awx", @progbits
        .globl void
void:
        .popsection
        .pushsection .rodata.p, "a", @progbits
        .balign 8
pointer: .byte 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55
        .reloc 0, 1, void
        .popsection
        .livepatch_func "xen_minor_version", new, 5
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
