# Instructions that depend on the processor
#
# An alternative is an instruction, another one, and a feature of processors. Xen makes its choice while it loads
# the patch, before anything can run. Feature 5*32+20 is SMAP: a processor that has it must be told (stac, clac)
# when the hypervisor means to touch a guest's memory, one that has not does not know the instruction. Feature
# 2*32+29 is the one that every processor has. What is left over of the longer old instruction becomes a NOP.
#
#! expect: accepted
#! bytes: site_smap 0f1f00
#! bytes: site_always 31c06690c3
#! step: apply -> 0
#! expect[--cpu-features 5*32+20]: accepted
#! bytes[--cpu-features 5*32+20]: site_smap 0f01cb
#! bytes[--cpu-features 5*32+20]: site_always 31c06690c3

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
site_smap:
        .xen_alternative ".byte 0x0f, 0x1f, 0x00", "stac", 5*32+20
site_always:
        .xen_alternative "add $16, %rax", "xor %eax, %eax", 2*32+29
        ret
        .size replacement, . - replacement

        .livepatch_func "xen_minor_version", replacement, 6

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
