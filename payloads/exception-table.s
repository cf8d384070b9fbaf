# An instruction that may fault
#
# Xen's code may touch what might not be there, if an entry of the exception table says where to go on when it
# faults. Xen sorts the table while it loads, by the addresses of the instructions: these two come in the wrong
# order. The pre-apply hook reads almost a gigabyte behind Xen's text, where nothing is mapped, and so ends at its
# second way out: -ENODATA. As with bug frames, the table of a patch that is not applied counts since 4.17.4 only.
#
#! expect[4.17.7 --run-hooks]: accepted
#! step[4.17.7 --run-hooks]: apply -> 1 ENODATA
#! logs[4.17.7 --run-hooks]: exception-table: pre-apply hook failed (rc=-61), aborting!
#! expect[4.20.3 --run-hooks]: accepted
#! step[4.20.3 --run-hooks]: apply -> 1 ENODATA
#! expect[4.14.6 --run-hooks]: accepted
#! step[4.14.6 --run-hooks]: apply -> crash
#! expect: accepted
#! step: apply -> 0

        .text
        .balign 16
        .type touch, @function
touch:
.Lsafe:
        mov     nr_cpu_ids(%rip), %eax
        lea     _start(%rip), %rax
.Ldangerous:
        mov     0x3e000000(%rax), %eax
        xor     %eax, %eax
        ret
.Lnothing_there:
        mov     $-61, %eax              # -ENODATA
        ret
        .size touch, . - touch

        .xen_exception .Ldangerous, .Lnothing_there
        .xen_exception .Lsafe, .Lnothing_there

        .livepatch_hook preapply, touch

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
