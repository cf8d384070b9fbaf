# A patch that only takes something away
#
# Without a new function, the first bytes of the old one become NOPs. do_nmi_op begins with endbr64, which
# stays, being the landing mark for indirect calls; so of 11 bytes 7 go: the `lock incl` that counts NMIs.
#
#! expect: accepted

        .livepatch_func "do_nmi_op", 0, 37, 0, 11

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
