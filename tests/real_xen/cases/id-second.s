# Depends on the build-id that the first has at upload, and no longer once it is applied.

        .text
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
        .livepatch_func "hvm_hap_nested_page_fault", .Lnew, 64
        .livepatch_depends 61626364
        .livepatch_xen_depends xen
        .build_id b2
