"""What `xen-livepatch` says, in the two ways in which it has spoken (`spec/04 §9`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.rules.errnos import errno_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.releases import Release

_DOING = {
    "apply": "Applying {name}",
    "revert": "Reverting {name}",
    "unload": "Unloading {name}",
    "replace": "Replacing all live patches with {name}",
}
_FLAGS = """\
    Supported flags:
      --nodeps           Disable inter-module buildid dependency check.
                         Check only against hypervisor buildid.
"""
_FORCE = " Use --force option to bypass some checks.\n"


class Speech:
    """One command's lines, as the tool has spoken since 4.9."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self.errno: int | None = None
        """The last error number that was shown."""

    def help(self, release: Release) -> None:
        """Say how the tool is used."""
        flags = _FLAGS if release.has_expectations else ""
        taking = " [flags]" if flags else "        "
        usage = (
            f"{release.tool_title}\n"
            f"Usage: xen-livepatch {'[--force] ' if release.tool_knows_force else ''}<command> [args]"
            f"{' [command-flags]' if flags else ''}\n"
            f"{_FORCE if release.tool_knows_force else ''}"
            " <name> An unique name of payload. Up to 128 characters.\n"
            "Commands:\n"
            "  help                   display this help\n"
            "  upload <name> <file>   upload file <file> with <name> name\n"
            "  list                   list payloads uploaded.\n"
            f"  apply <name>{taking}   apply <name> patch.\n"
            f"{flags}"
            "  revert <name>          revert name <name> patch.\n"
            "  replace <name>         apply <name> patch and revert all others.\n"
            "  unload <name>          unload name <name> patch.\n"
            + "".join(f"{line}\n" for line in release.tool_describes_load)
            + flags
        )
        self.err += usage.splitlines()

    def unknown_verb(self, verb: str) -> None:
        """Say that there is no such command."""
        self.err.append(f"Unrecognised command '{verb}' -- try 'xen-livepatch help'")

    def unsupported_flag(self, flag: str) -> None:
        """Say that an action has no such flag."""
        self.err.append(f"Unsupported flag: {flag}.")

    def listing(self, rows: Sequence[str], *, with_metadata: bool) -> None:
        """Show the list of payloads."""
        if with_metadata and not rows:
            self.out.append("Nothing to list")
            return
        column, rule = (" | metadata", "+---------------") if with_metadata else ("", "")
        self.out += [f" {'ID':<39}| status    {column}".rstrip(), "-" * 40 + "+" + "-" * 12 + rule, *rows]

    def cannot_list(self, count: int, errno: int) -> None:
        """Say that Xen does not give the list."""
        self.err.append(f"Failed to list 0/{count}.")
        self._error(errno)

    def name_too_long(self, limit: int) -> None:
        """Say that the tool takes no such name."""
        self.err.append(f"ID must be no more than {limit} characters.")

    def cannot_open(self, file: str, errno: int) -> None:
        """Say that a payload cannot be read."""
        self.err.append(f"Could not open {file}.")
        self._error(errno)

    def cannot_map(self, file: str, errno: int) -> None:
        """Say that a payload has no contents to be read."""
        self.err.append(f"Could not map {file}.")
        self._error(errno)

    def uploading(self, file: str, size: int) -> None:
        """Say that an upload begins."""
        del size
        self.out.append(f"Uploading {file}... ")

    def upload_failed(self, file: str, errno: int) -> None:
        """Say that an upload failed."""
        del file
        self._failed(errno)

    def acting(self, verb: str, name: str) -> None:
        """Say that an action begins."""
        self.out.append(f"{_DOING[verb].format(name=name)}... ")

    def waited(self) -> None:
        """Show nothing of the time in which Xen does the work of an action."""

    def completed(self) -> None:
        """Say that what began has ended well."""
        self.out[-1] += "completed"

    def failed(self, name: str, errno: int) -> None:
        """Say that an action failed."""
        del name
        self._failed(errno)

    def not_completed(self) -> None:
        """Say that an action has not ended."""
        self.out[-1] += "failed"
        self.err.append("Operation didn't complete.")

    def failed_in_state(self, name: str, state: str, target: str) -> None:
        """Say that an action has left a payload in some other state."""
        self.out[-1] += "failed"
        self.wrong_state(name, state, target, target)

    def nothing_to_do(self) -> None:
        """Say that a payload is in the wanted state already."""
        self.out.append("No action needed.")

    def in_progress(self, name: str, verb: str) -> None:
        """Say that an action is under way."""
        del name
        self.err += [f"Cannot execute {verb}.", "Operation already in progress."]

    def wrong_state(self, name: str, state: str, required: str, target: str) -> None:
        """Say that an action makes no sense in a payload's state."""
        del target
        self.err += [f"{name} is in the wrong state.", f"Current state: {state}", f"Expected state: {required}"]

    def no_status(self, name: str, errno: int) -> None:
        """Say that a payload's status cannot be read."""
        self.err.append(f"Failed to get status of {name}.")
        self._error(errno)

    def _failed(self, errno: int) -> None:
        self.out[-1] += "failed"
        self._error(errno)

    def _error(self, errno: int) -> None:
        self.errno = errno
        self.err.append(f"Error {errno}: {errno_text(errno)}")


class OldSpeech(Speech):
    """One command's lines, as the tool spoke in 4.7 and 4.8."""

    def cannot_list(self, count: int, errno: int) -> None:
        """Say that Xen does not give the list."""
        self._complain(f"Failed to list 0/{count}: {{}}!", errno)

    def uploading(self, file: str, size: int) -> None:
        """Say that an upload begins."""
        self.out.append(f"Uploading {file} ({size} bytes)")

    def upload_failed(self, file: str, errno: int) -> None:
        """Say that an upload failed."""
        self._complain(f"Upload failed: {file}, error: {{}}!", errno)

    def acting(self, verb: str, name: str) -> None:
        """Say that an action begins."""
        del name
        self.out.append(f"Performing {verb}:")

    def completed(self) -> None:
        """Say that what began has ended well; of uploads it does not."""
        if self.out[-1].startswith("Performing"):
            self.out[-1] += " completed"

    def waited(self) -> None:
        """Show the dot of a tenth of a second; nearly every action is done within the first."""
        self.out[-1] += "."

    def failed(self, name: str, errno: int) -> None:
        """Say that an action failed."""
        self._complain(f"{name} failed with {{}}", errno)

    def not_completed(self) -> None:
        """Say that an action has not ended, after half a minute of dots."""
        self.err.append("Operation didn't complete after 30 seconds.")

    def failed_in_state(self, name: str, state: str, target: str) -> None:
        """Say that an action has left a payload in some other state."""
        self.wrong_state(name, state, target, target)

    def nothing_to_do(self) -> None:
        """Say that a payload is in the wanted state already."""
        self.out.append("No action needed")

    def in_progress(self, name: str, verb: str) -> None:
        """Say that an action is under way."""
        del verb
        self.err.append(f"{name} failed. Operation already in progress")

    def wrong_state(self, name: str, state: str, required: str, target: str) -> None:
        """Say that an action makes no sense in a payload's state; what is expected is always the target."""
        del required
        self.out.append(f"{name}: in wrong state ({state}), expected ({target})")

    def no_status(self, name: str, errno: int) -> None:
        """Say that a payload's status cannot be read."""
        self._complain(f"{name} failed to get status {{}}!", errno)

    def _complain(self, words: str, errno: int) -> None:
        self.errno = errno
        self.err.append(words.format(f"{errno}({errno_text(errno)})"))
