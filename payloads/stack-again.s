# A replacement for a replacement
#
# stack-base.s replaced this function, so a jump stands at its beginning by now, and the next one goes over it.
# What the patch expects there is that jump. It is known beforehand only because on the model the first patch
# always has the same address, 0xffff82d04020d000: 0xcfab bytes behind the end of the jump. Reverted, it puts
# the jump back. Without the lower patch the bytes are others, and it is refused.
#
#! on: stack-base
#! expect: accepted
#! step: apply -> 0
#! bytes: xen_minor_version e9ab0f0100
#! step: revert -> 0
#! bytes: xen_minor_version e9abcf0000
#! step: revert stack-base -> 0
#! bytes: xen_minor_version b811000000c3
#! step: apply --nodeps -> 1 EINVAL
#! logs: xen_minor_version: expectation failed: expected:e9abcf0000, actual:b811000000

        .text
        .balign 16
        .globl next_minor_version
        .type next_minor_version, @function
next_minor_version:
        mov     $19, %eax
        ret
        .size next_minor_version, . - next_minor_version

        .livepatch_func "xen_minor_version", next_minor_version, 6
        .livepatch_expect e9abcf0000

        # "xsplice sample, base"
        .livepatch_depends 7873706c6963652073616d706c652c2062617365
        .livepatch_xen_depends xen
        .build_id sha1
