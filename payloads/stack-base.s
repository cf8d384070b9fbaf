# The lower one of two patches
#
# It replaces a function, and brings a helper along that later patches may call. Each patch has a build-id, which
# the next one names as what it stands on. As a rule that is a digest of the contents; here it is words, so that
# the samples on top can name it in plain text.
#
#! expect: accepted
#! step: apply -> 0
#! bytes: xen_minor_version e9abcf0000

        .text
        .balign 16
        .globl base_minor_version
        .type base_minor_version, @function
base_minor_version:
        mov     $18, %eax
        ret
        .size base_minor_version, . - base_minor_version

        # int next_version(int version)
        .balign 16
        .globl next_version
        .type next_version, @function
next_version:
        lea     1(%rdi), %eax
        ret
        .size next_version, . - next_version

        .livepatch_func "xen_minor_version", base_minor_version, 6

        .livepatch_depends xen
        .livepatch_xen_depends xen
        # "xsplice sample, base"
        .build_id 7873706c6963652073616d706c652c2062617365
