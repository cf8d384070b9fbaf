"""Rules on what may be done with a loaded payload, and what it does (`spec/04`)."""

from __future__ import annotations

from functools import partial

from xsplice_loader.rules.rule import Rule

_crash = partial(Rule, crash=True)
_warning = partial(Rule, severity="warning")
_note = partial(Rule, severity="note")

UNKNOWN_PAYLOAD = Rule(
    "XSP210",
    "an action names a payload that is loaded",
    "Payloads are known by the name that they were uploaded under.",
    "spec/04 §6",
    errno="ENOENT",
)
UNLOAD_APPLIED = Rule(
    "XSP211",
    "an applied payload is not unloaded",
    "Jumps in Xen's text lead into it; it has to be reverted first.",
    "spec/04 §6",
    errno="EINVAL",
)
NOT_ON_TOP = Rule(
    "XSP212",
    "payloads are reverted in the opposite order of their applying",
    "What a payload saved may be the jump of the one below; put back out of order, it would lead into memory that is "
    "gone.",
    "spec/04 §6",
    errno="EBUSY",
    words="can't unload. Top is {top}",
)
USED_DATA = Rule(
    "XSP213",
    "a payload with variables of its own is applied once",
    "Its variables are no longer what they were in the file. Unload it and upload it again.",
    "spec/04 §6, spec/02 §4",
    errno="EINVAL",
    words="can't revert as payload has .data. Please unload",
    switch="reapply_rule",
)
STANDS_ON_OTHER = Rule(
    "XSP214",
    "a payload is applied on what it was made for",
    "`.livepatch.depends` names the build that its code was compared with: the hypervisor for the first payload, the "
    "one applied last for all others. So applied payloads form a chain.",
    "spec/04 §6.1",
    errno="EINVAL",
    words="check against {other} build-id failed",
)
XEN_WITHOUT_ID = Rule(
    "XSP215",
    "the hypervisor has a build-id to stand on",
    "Without one there is nothing to compare with.",
    "spec/04 §6.1",
    errno="ENODATA",
)
UNEXPECTED_BYTES = Rule(
    "XSP216",
    "the old function begins with the expected bytes",
    "A payload may say what must stand at an old address, so that it is not put on something else. When another "
    "payload patched the function before, that is the other's jump.",
    "spec/04 §3",
    errno="EINVAL",
    words="expectations of {name} failed (rc={code}), aborting!",
    switch="has_expectations",
)
EXPECTATION_RESERVED = Rule(
    "XSP217",
    "the reserved bits of an expectation are 0",
    "They are kept for later use.",
    "spec/04 §3",
    errno="EINVAL",
    words="expectations of {name} failed (rc={code}), aborting!",
    switch="has_expectations",
)
EXPECTATION_TOO_LONG = Rule(
    "XSP218",
    "an expectation is no longer than the old function",
    "What stands behind the function is none of the payload's business.",
    "spec/04 §3",
    errno="ERANGE",
    words="expectations of {name} failed (rc={code}), aborting!",
    switch="has_expectations",
)
HOOK_VETO = Rule(
    "XSP219",
    "the hook before an action lets it go ahead",
    "A payload can look whether the system is fit for it, and refuse.",
    "spec/04 §4",
    errno="EINVAL",
    words="{hook} hook failed (rc={code}), aborting!",
    switch="single_hooks",
)
REPLACE_WITH_HOOKS = Rule(
    "XSP220",
    "payloads with a hook before or after actions take no part in a replacement",
    "All of them are exchanged at one go, with the machine standing still, when no hook may stop it half way.",
    "spec/04 §6",
    errno="EOPNOTSUPP",
    switch="single_hooks",
)
HOOK_FAILED = Rule(
    "XSP221",
    "a hook in place of an action does its work",
    "What it returns is the result of the action.",
    "spec/04 §4",
    errno="EINVAL",
    switch="single_hooks",
)
REPLACEMENT_INCOMPLETE = _warning(
    "XSP222",
    "a replacement that fails leaves the system as it was",
    "Xen reverts the other payloads first. If the new one is then refused, nothing is patched any more.",
    "spec/04 §3, §6.2",
    words="SYSTEM MIGHT BE INSECURE: Replace action has been aborted after reverting ALL payloads!",
    switch="has_expectations",
)
STUCK = _warning(
    "XSP223",
    "a payload's status says what came of the last action",
    "-EAGAIN stands for an action under way. Where a hook returned it, the tool will wait for its end forever; only a "
    "reboot helps.",
    "spec/04 §6, spec/07 8",
)
ODD_RETURN = _warning(
    "XSP224",
    "a hook returns 0 or a negative errno",
    "Xen passes on whatever it returns, and the tool takes a positive number for a state.",
    "spec/07 8",
)

SHORT_NOPS = _crash(
    "XSP230",
    "NOPs reach behind the ENDBR64 of the function that they are put on",
    "The ENDBR64 stays, so what is left for NOPs has less than no bytes; Xen takes that for a huge number.",
    "spec/04 §2.1, spec/06 §4",
    switch="endbr64_forms",
)
NOT_WRITABLE = _crash(
    "XSP231",
    "a function that is patched or restored lies where Xen may write",
    "Write protection is lifted for code and some other pages only, and what was unloaded is not mapped any more.",
    "spec/04 §2, spec/07 13",
)
INCONSISTENT = _crash(
    "XSP232",
    "a hook in place of an action deals with all functions",
    "Afterwards every function must be marked as what the action made of it. A half-patched system is not to go on.",
    "spec/04 §4",
    switch="single_hooks",
)
HOOK_NOT_CODE = _crash(
    "XSP233",
    "hooks lead to code",
    "Xen calls what stands in the table.",
    "spec/04 §4, spec/06 §4",
)
HOOK_DIED = _crash(
    "XSP234",
    "a hook leaves the machine alive",
    "Hooks run in Xen itself, some of them with everything else standing still.",
    "spec/04 §4",
)
WILD_TABLE = _crash(
    "XSP235",
    "what an action reads of a payload is mapped",
    "Names of functions, metadata and tables are followed without a test.",
    "spec/06 §4, §5",
)

NEVER_ENDS = "the request never ends: debug key x has kept the payload lock"
LOCK_KEPT = _crash(
    "XSP236",
    "the payload lock is free when a request needs it",
    "Debug key x lets go of the lock after 64 functions of a payload and takes it again. The first releases took that "
    "for a failure and returned with the lock held, so that every later request waits for it without end.",
    "xen/common/livepatch.c: livepatch_printall",
    switch="key_x_keeps_lock",
)

HOOK_NOT_RUN = _note(
    "XSP240",
    "a hook is run by --run-hooks only",
    "Without that it is taken to return 0.",
    "contract 1.1",
)
HOOK_NOT_FOLLOWED = Rule(
    "XSP241",
    "a hook cannot be followed to its end",
    "It runs for too long, uses something of a real machine that is not simulated, does not restore callee-saved "
    "registers, or returns what depends on where Xen's heap put a structure. The outcome of the action is unknown, and "
    "so is everything after it.",
    "xen/common/livepatch.c: livepatch_do_action",
)
HOOK_EFFECT_UNKNOWN = _warning(
    "XSP246",
    "an apply hook was not run, so what it patched is unknown",
    "It patches functions itself and saves what was there. Where it was not run, a revert restores nothing.",
    "xen/common/livepatch.c: revert_payload",
)
HEAP_ADDRESS = _warning(
    "XSP248",
    "what a hook stores or prints depends on where Xen's heap put a structure",
    "Hooks are passed the address of struct payload, which differs from one start of Xen to the next. A hook is run "
    "twice, with that address and all others on the heap changed; bytes and lines that differ are unknown.",
    "xen/common/livepatch.c: livepatch_upload",
    switch="single_hooks",
)
NOT_RESTORED = _warning(
    "XSP242",
    "a revert does not restore the bytes that were there before",
    "Functions are restored in the order in which they were patched. Where two of them overlap, the later one saved "
    "bytes of the earlier one, and puts them back. A hook in place of an action may save or restore other bytes.",
    "spec/07 9",
)
LEFT_LINKED = _warning(
    "XSP243",
    "a payload that is unloaded is not used by another one",
    "Xen does not ask. What the other one calls is not there any more.",
    "spec/04 §6, spec/06 §5",
)
LEFT_PATCHED = _warning(
    "XSP244",
    "a payload that is unloaded has no patches on it, and no jump leads to it",
    "Xen does not ask. Reverting such a patch kills the machine, and so does calling what jumps to it.",
    "spec/07 9, 13",
)
ALREADY_MARKED = _warning(
    "XSP245",
    "functions are marked as what they are",
    "Xen skips a function that is marked already. A file can bring the mark along where it is kept in the payload.",
    "spec/04 §1.1, §4",
)
NOT_COMPARED = _warning(
    "XSP247",
    "what an action compares is known",
    "The file of this hypervisor does not hold what the comparison needs; it is taken to succeed.",
    "contract 1.1",
)

ALL = (
    UNKNOWN_PAYLOAD,
    UNLOAD_APPLIED,
    NOT_ON_TOP,
    USED_DATA,
    STANDS_ON_OTHER,
    XEN_WITHOUT_ID,
    UNEXPECTED_BYTES,
    EXPECTATION_RESERVED,
    EXPECTATION_TOO_LONG,
    HOOK_VETO,
    REPLACE_WITH_HOOKS,
    HOOK_FAILED,
    REPLACEMENT_INCOMPLETE,
    STUCK,
    ODD_RETURN,
    SHORT_NOPS,
    NOT_WRITABLE,
    INCONSISTENT,
    HOOK_NOT_CODE,
    HOOK_DIED,
    WILD_TABLE,
    LOCK_KEPT,
    HOOK_NOT_RUN,
    HOOK_NOT_FOLLOWED,
    HOOK_EFFECT_UNKNOWN,
    HEAP_ADDRESS,
    NOT_RESTORED,
    LEFT_LINKED,
    LEFT_PATCHED,
    ALREADY_MARKED,
    NOT_COMPARED,
)
