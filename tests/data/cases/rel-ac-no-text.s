        .livepatch_func "do_nmi_op", 0, 16, 0, 5
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
        .pushsection .alt_call_sites, "a", @progbits
        .balign 4
        .long 4
        .popsection
