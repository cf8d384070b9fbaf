# A function table without SHF_ALLOC: read through a NULL pointer, or from 4.18.4 on as it stands in the file.

        .text
        ret
        .section .livepatch.funcs, "", @progbits
        .zero   104
        .livepatch_depends xen
        .livepatch_xen_depends xen
        .build_id a1
