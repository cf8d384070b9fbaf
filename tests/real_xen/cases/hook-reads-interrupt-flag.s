# A hook before patching is called with interrupts enabled: it returns the flag, 1, and that is a veto.

        .text
        .type   .Lnew, @function
.Lnew:  xor     %eax, %eax
        ret
        .size   .Lnew, . - .Lnew
.Lhook: pushfq
        pop     %rax
        and     $0x200, %eax
        shr     $9, %eax
        ret
        .section .livepatch.hooks.preapply, "aw", @progbits
        .quad   .Lhook
        .livepatch_func "hvm_gsi_assert", .Lnew, 64
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
