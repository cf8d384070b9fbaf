# A patch that looks before it leaps
#
# The pre-apply hook is called before anything is touched. What it returns, unless 0, is the result: here the
# patch is for machines with several processors, and the model has one. A pre-revert hook can keep a patch
# from being taken away in the same manner.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> 1 EOPNOTSUPP
#! logs[--run-hooks]: hook-refuses: Calling pre-apply hook function
#! logs[--run-hooks]: hook-refuses: pre-apply hook failed (rc=-95), aborting!
#! bytes[--run-hooks]: xen_minor_version b811000000c3
#! step[--run-hooks]: unload -> 0
#
# Nobody asks the hook where hooks are not run.
#
#! expect: accepted
#! step: apply -> 0
#! step: revert -> 0

        .text
        .balign 16
        .type is_fit, @function
is_fit:
        xor     %eax, %eax
        cmpl    $1, nr_cpu_ids(%rip)
        ja      1f
        mov     $-95, %eax              # -EOPNOTSUPP
1:      ret
        .size is_fit, . - is_fit

        .livepatch_hook preapply, is_fit

        .balign 16
        .globl replacement
        .type replacement, @function
replacement:
        mov     $18, %eax
        ret
        .size replacement, . - replacement

        .livepatch_func "xen_minor_version", replacement, 6

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
