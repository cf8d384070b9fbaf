# A patch that only takes something away
#
# Without a new function, the first bytes of the old one become NOPs. do_nmi_op begins with endbr64, which
# stays, being the landing mark for indirect calls; so of 11 bytes 7 go: the `lock incl` that counts NMIs.
#
#! expect: accepted
#! step: apply -> 0
#! bytes: do_nmi_op f30f1efa0f1f8000000000
#! step: revert -> 0
#! bytes: do_nmi_op f30f1efaf0ff05
#! expect[--nops k8]: accepted
#! step[--nops k8]: apply -> 0
#! bytes[--nops k8]: do_nmi_op f30f1efa66666690666690

        .livepatch_func "do_nmi_op", 0, 37, 0, 11

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
