# A patch that does not say what it stands on
#
# .livepatch.depends holds the build-id of what must have been applied before: that of Xen, or of the patch
# below. Without it nobody could tell whether the old bytes are those that the patch was made for.
#
#! expect: refused EINVAL special-sections
#! xen-message: .livepatch.depends is missing

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

        .livepatch_xen_depends xen
        .build_id sha1
