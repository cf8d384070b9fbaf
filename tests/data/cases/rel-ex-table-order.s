        .text
        .balign 16
        .globl new
        .type new, @function
new:    xor %eax, %eax
fault:  mov (%rdi), %eax
t1:     nop
t2:     nop
later:  mov (%rsi), %eax
t3:     ret
        .size new, . - new
        .xen_exception fault, t1
        .xen_exception fault, t2
        .xen_exception later, t3
        .livepatch_func "xen_minor_version", new, 5, 0, sizeof(new), 1
        .livepatch_depends xen
        .build_id sha1
