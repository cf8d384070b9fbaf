# Has the build-id that the first changes to.

        .text
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
        .livepatch_func "hvm_hap_nested_page_fault", .Lnew, 64
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id 41414141
