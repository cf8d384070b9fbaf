# Three bytes of NOPs that kill the machine
#
# do_nmi_op begins with endbr64, which has four bytes and stays; NOPs are put behind it. A patch of three bytes
# has -1 left for them, which Xen takes for a huge number. The upload does not notice. Up to 4.14.4 nobody looked
# for endbr64, and the NOP went over the first three of its bytes.
#
#! expect: accepted
#! step: apply -> crash
#! expect[4.14.0]: accepted
#! step[4.14.0]: apply -> 0
#! bytes[4.14.0]: do_nmi_op 0f1f00fa

        .livepatch_func "do_nmi_op", 0, 37, 0, 3

        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id sha1
