# A patch that stands on another one
#
# It calls a function that stack-base.s brought along, and says what it stands on: not on Xen, but on that patch.
# Calls to helpers are settled at the upload, whatever is applied then. What a patch stands on is tested when it is
# applied, and must be on top. --nodeps does without that test; the test of Xen's own build-id it does not spare.
#
#! on: stack-base
#! expect: accepted
#! step: apply -> 0
#! logs: stack-top finished APPLY with rc=0
#! step: revert -> 0
#! step: revert stack-base -> 0
#! step: apply -> 1 EINVAL
#! logs: stack-top: check against hypervisor build-id failed
#! step: apply --nodeps -> 0
#! step: revert -> 0
#! step: apply stack-base -> 0
#! step: apply -> 0

        .text
        .balign 16
        .globl top_major_version
        .type top_major_version, @function
top_major_version:
        mov     $4, %edi
        jmp     next_version@PLT
        .size top_major_version, . - top_major_version

        .livepatch_func "xen_major_version", top_major_version, 6

        # "xsplice sample, base"
        .livepatch_depends 7873706c6963652073616d706c652c2062617365
        .livepatch_xen_depends xen
        .build_id sha1
