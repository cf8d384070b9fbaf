# Functions of the patch that Xen calls
#
# Around the moment at which functions are patched Xen calls back. Load hooks come just before it, unload hooks
# just after functions were restored, while nothing else runs in the whole machine; there may be many, and they
# are called in the order of their table. Of the others a patch has one each: pre-apply and pre-revert are asked
# first and may refuse, post-apply and post-revert are told afterwards. The names of the first two are old: they
# have nothing to do with upload and unload.
# A loader without a processor cannot call anything: hooks count as returning 0, unless --run-hooks emulates one.
#
#! release: 4.14.6
#! release: 4.17.7
#! release: 4.20.3
#! expect: accepted
#! step: apply -> 0
#! logs: hooks: Calling pre-apply hook function
#! logs: hooks: Applying 1 functions
#! logs: hooks: Calling post-apply hook function with rc=0
#! logs: hooks finished APPLY with rc=0
#! step: revert -> 0
#! logs: hooks: Calling pre-revert hook function
#! logs: hooks: Reverting
#! logs: hooks: Calling post-revert hook function with rc=0
#! logs: hooks finished REVERT with rc=0
#
#! expect[--run-hooks]: accepted
#! step[--run-hooks]: apply -> 0
#! logs[--run-hooks]: before applying
#! logs[--run-hooks]: hooks: Applying 1 functions
#! logs[--run-hooks]: first load hook
#! logs[--run-hooks]: second load hook
#! logs[--run-hooks]: after applying
#! step[--run-hooks]: revert -> 0
#! logs[--run-hooks]: before reverting
#! logs[--run-hooks]: hooks: Reverting
#! logs[--run-hooks]: unload hook
#! logs[--run-hooks]: after reverting
#
# While it has hooks that may refuse, it takes no part in a replacement of patches.
#
#! step: replace -> 1 EOPNOTSUPP
#! logs: hooks: REPLACE action is not supported on livepatches with vetoing hooks!

        .text
        .balign 16
        .type first_load_hook, @function
first_load_hook:
        lea     .Lfirst_load(%rip), %rdi
        jmp     say
        .size first_load_hook, . - first_load_hook

        .type second_load_hook, @function
second_load_hook:
        lea     .Lsecond_load(%rip), %rdi
        jmp     say
        .size second_load_hook, . - second_load_hook

        .type unload_hook, @function
unload_hook:
        lea     .Lunload(%rip), %rdi
        jmp     say
        .size unload_hook, . - unload_hook

        .type before_applying, @function
before_applying:
        lea     .Lbefore_applying(%rip), %rdi
        jmp     say
        .size before_applying, . - before_applying

        .type after_applying, @function
after_applying:
        lea     .Lafter_applying(%rip), %rdi
        jmp     say
        .size after_applying, . - after_applying

        .type before_reverting, @function
before_reverting:
        lea     .Lbefore_reverting(%rip), %rdi
        jmp     say
        .size before_reverting, . - before_reverting

        .type after_reverting, @function
after_reverting:
        lea     .Lafter_reverting(%rip), %rdi
        jmp     say
        .size after_reverting, . - after_reverting

        # int say(const char *text): print it and return 0, "go ahead".
        .type say, @function
say:
        sub     $8, %rsp
        xor     %eax, %eax
        call    printk@PLT
        xor     %eax, %eax
        add     $8, %rsp
        ret
        .size say, . - say

        .section .rodata.str, "aMS", @progbits, 1
.Lfirst_load:
        .asciz  "first load hook\n"
.Lsecond_load:
        .asciz  "second load hook\n"
.Lunload:
        .asciz  "unload hook\n"
.Lbefore_applying:
        .asciz  "before applying\n"
.Lafter_applying:
        .asciz  "after applying\n"
.Lbefore_reverting:
        .asciz  "before reverting\n"
.Lafter_reverting:
        .asciz  "after reverting\n"

        .livepatch_hook load, first_load_hook
        .livepatch_hook load, second_load_hook
        .livepatch_hook unload, unload_hook
        .livepatch_hook preapply, before_applying
        .livepatch_hook postapply, after_applying
        .livepatch_hook prerevert, before_reverting
        .livepatch_hook postrevert, after_reverting

        .text
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
