# A warning with file and line
#
# A warning in Xen costs two bytes: ud2, an instruction that always traps. A bug frame tells the trap handler what
# that one stands for, by its distances to the instruction and to the file's name; the line number shares their
# words, seven bits in the upper byte of each. Xen's code goes on behind the ud2.
# Here the pre-apply hook warns. Frames are looked for in code that counts as Xen's, which that of a patch did only
# once it was applied, until 4.17.4 (4.18.1, 4.19.0): before, the machine dies of the unknown ud2.
#
#! expect: accepted
#! step: apply -> 0
#! expect[4.17.7 --run-hooks]: accepted
#! step[4.17.7 --run-hooks]: apply -> 0
#! logs[4.17.7 --run-hooks]: bug-frame: Calling pre-apply hook function
#! logs[4.17.7 --run-hooks]: Xen WARN at common/hello.c:300
#! logs[4.17.7 --run-hooks]: bug-frame: Applying 1 functions
#! expect[4.20.3 --run-hooks]: accepted
#! step[4.20.3 --run-hooks]: apply -> 0
#! logs[4.20.3 --run-hooks]: Xen WARN at common/hello.c:300
#! expect[4.14.6 --run-hooks]: accepted
#! step[4.14.6 --run-hooks]: apply -> crash
#! logs[4.14.6 --run-hooks]: bug-frame: Calling pre-apply hook function

        .text
        .balign 16
        .type worry, @function
worry:
        .xen_warn "common/hello.c", 300
        xor     %eax, %eax
        ret
        .size worry, . - worry

        .livepatch_hook preapply, worry

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
