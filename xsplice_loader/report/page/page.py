"""`page_html`: results to one HTML file.

The file holds a frame of text for people (`page.html`), its style, a program (`script/`), and the results as JSON. The
program fills the frame. A content security policy in the file allows exactly this style and this program, by their
hashes, and no request to anywhere: a payload's names stay names, whatever they say.
"""

from __future__ import annotations

import base64
import hashlib
import html
from functools import lru_cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

import msgspec

from xsplice_loader.report.escaping import for_terminal, path_text
from xsplice_loader.report.page.story import story

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.host import Host
    from xsplice_loader.results import LoadResult, Step

SCRIPTS = (
    "numbers.js",
    "elements.js",
    "payload.js",
    "scales.js",
    "verdict.js",
    "sections.js",
    "listing.js",
    "relocation.js",
    "map.js",
    "place.js",
    "memory.js",
    "timeline.js",
    "page.js",
)
"""The program's parts; each uses only those before it."""


def page_html(host: Host, results: Sequence[LoadResult], steps: Sequence[Step]) -> bytes:
    """Return the page on some uploads to `host`, in their order, and on the commands that followed, if any."""
    data = msgspec.json.encode(story(host, results, steps))
    style, program = _parts()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(program)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )
    told = [_told(result) for result in results]
    page = Template(_file("page.html")).substitute(
        policy=policy,
        title=html.escape(told[0] if len(told) == 1 else f"{len(told)} payloads"),
        verdicts="\n".join(f"<p>{html.escape(line)}</p>" for line in told),
        style=style,
        program=program,
        # Inside a script element only `<` could end it or open a comment; it occurs in strings only.
        data=data.replace(b"<", b"\\u003c").decode(),
    )
    return page.encode()


def _told(result: LoadResult) -> str:
    """Say the verdict in a line, for the title and for a browser that runs no scripts."""
    name = for_terminal(path_text(result.file))
    if result.verdict is None:
        return f"{name}: cannot be read"
    if result.errno is None:
        return f"{name}: {'would crash Xen' if result.verdict == 'crash' else result.verdict}"
    return f"{name}: {result.verdict}, {result.errno_name} at {result.stage or 'the start'} [{result.rule}]"


@lru_cache(maxsize=1)
def _parts() -> tuple[str, str]:
    """Return the style and the program. They begin and end with a line break, which counts for their hashes."""
    program = "\n".join(_file(f"script/{name}") for name in SCRIPTS)
    return f"\n{_file('page.css')}", f'\n"use strict";\n{program}'


def _file(name: str) -> str:
    return files("xsplice_loader.report.page").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
