# A patch for a function that is another one by now
#
# It expects minor version 16. The upload does not look; applying does, and nothing is patched.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect: accepted
#! step: apply -> 1 EINVAL
#! logs: xen_minor_version: expectation failed: expected:b810000000c3, actual:b811000000c3
#! logs: expectation-fails: expectations of xen_minor_version failed (rc=-22), aborting!
#! bytes: xen_minor_version b811000000c3
#! step: unload -> 0

        .text
        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        mov     $18, %eax
        ret
        .size replacement, . - replacement

        .livepatch_func "xen_minor_version", replacement, 6
        .livepatch_expect b810000000c3

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
