# One patch in the place of all others
#
# A stack grows with every fix, and each new patch needs all those below. A cumulative patch contains them all and
# stands on Xen itself. REPLACE reverts whatever is applied, from the top down, and applies this one in the same
# standstill: there is no moment at which nothing is fixed. The others are still loaded, and can be unloaded.
#
#! on: stack-base stack-top
#! expect: accepted
#! step: apply -> 1 EINVAL
#! logs: cumulative: check against stack-top build-id failed
#! step: replace -> 0
#! logs: stack-top: Reverting
#! logs: stack-base: Reverting
#! logs: cumulative: Applying 2 functions
#! logs: cumulative finished REPLACE with rc=0
#! step: unload stack-top -> 0
#! step: unload stack-base -> 0
#! step: revert -> 0
#! bytes: xen_major_version b804000000c3
#! bytes: xen_minor_version b811000000c3

        .text
        .balign 16
        .globl all_major_version
        .type all_major_version, @function
all_major_version:
        mov     $5, %eax
        ret
        .size all_major_version, . - all_major_version

        .balign 16
        .globl all_minor_version
        .type all_minor_version, @function
all_minor_version:
        mov     $18, %eax
        ret
        .size all_minor_version, . - all_minor_version

        .livepatch_func "xen_major_version", all_major_version, 6
        .livepatch_func "xen_minor_version", all_minor_version, 6

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
