# A patch for another Xen
#
# .livepatch.xen_depends holds the build-id of the one hypervisor that the addresses were taken from, and this
# is a stranger's. From 4.20 on (4.18.4, 4.19.1) that is the first thing tested; before, nearly the last.
#
#! expect: refused EINVAL build-id
#! xen-message: check against hypervisor build-id failed

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        lea     .Lmessage(%rip), %rax
        ret
        .size replacement, . - replacement

        .section .rodata, "a", @progbits
.Lmessage:
        .asciz  "-patched"

        .livepatch_func "xen_extra_version", replacement, 16

        .livepatch_depends xen
        .livepatch_xen_depends 00112233445566778899aabbccddeeff00112233
        .build_id sha1
