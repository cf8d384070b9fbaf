"""What a notebook shows of a load: the verdict, what was found, and how far things are. No script, everything escaped.

A notebook's own colours are not known here, so text has the colour that it would have anyway, and lines and bars have
one that can be seen on white and on black.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from xsplice_loader.numbers import size_text
from xsplice_loader.releases import GIB
from xsplice_loader.report.escaping import for_terminal, path_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.results import Finding, LoadResult

SHOWN_FINDINGS = 20
HEADS = ("rule", "severity", "what was found", "reach")
ACCENT, BAD, LINE = "#3f7ae0", "#d64545", "#8888"
WIDTH, MIDDLE, HALF, HEIGHT = 260, 130, 90, 18
"""Of a bar, in pixels; `HALF` of them stand for 2 GiB."""


def result_html(result: LoadResult) -> str:
    """Return an HTML fragment on one upload."""
    return "".join(_parts(result))


def _parts(result: LoadResult) -> Iterator[str]:
    accepted = result.verdict == "accepted"
    verdict = "cannot be read" if result.verdict is None else "would crash Xen" if result.crash else result.verdict
    yield (
        f'<div style="line-height:1.5"><p style="margin:0"><b>{_text(path_text(result.file))}</b> '
        f'<b style="color:{ACCENT if accepted else BAD}">{verdict}</b>{_text(_why(result))}</p>'
    )
    if result.xen_message is not None:
        yield f'<p style="margin:0"><code>{_text(result.xen_message)}</code></p>'
    if result.regions is not None:
        yield (
            f'<p style="margin:0">{result.pages} page{"" if result.pages == 1 else "s"} at '
            f"<code>{result.regions[0].address:#018x}</code>, {result.relocations.total} "
            f"relocation{'' if result.relocations.total == 1 else 's'}</p>"
        )
    if result.findings:
        yield _table(result.findings)
    yield "</div>"


def _why(result: LoadResult) -> str:
    if result.errno is None:
        return f" [{result.rule}]" if result.rule is not None else ""
    return f", {result.errno_name} ({result.errno}) at {result.stage or 'the start'} [{result.rule}]"


def _table(findings: tuple[Finding, ...]) -> str:
    rows = "".join(map(_row, findings[:SHOWN_FINDINGS]))
    left = len(findings) - SHOWN_FINDINGS
    more = f'<p style="margin:0">… and {left} more</p>' if left > 0 else ""
    heads = "".join(f'<th scope="col" style="text-align:left">{head}</th>' for head in HEADS)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _row(finding: Finding) -> str:
    colour = f' style="color:{BAD}"' if finding.severity == "error" else ""
    hint = f"<br/><small>{_text(finding.hint)}</small>" if finding.hint is not None else ""
    bar = reach_svg(finding.value) if finding.value is not None and finding.range is not None else ""
    return (
        f"<tr><td><code>{finding.rule}</code></td><td{colour}>{finding.severity}</td>"
        f'<td style="text-align:left">{_text(finding.message)}{hint}</td><td>{bar}</td></tr>'
    )


def reach_svg(value: int) -> str:
    """Return a bar of 2 GiB to either side with the place in the middle, and the target as a dot, in it or beyond."""
    reach = 2 * GIB
    fits = -reach <= value < reach
    at = MIDDLE + (value / reach * HALF if fits else (HALF + 30) * (1 if value > 0 else -1))
    way = f"{size_text(value)} {'up' if value > 0 else 'down'}"
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{way}, {"within" if fits else "out of"} reach">'
        f"<title>{way}; 32 bits reach 2 GiB</title>"
        f'<rect x="{MIDDLE - HALF}" y="5" width="{2 * HALF}" height="8" rx="4" fill="{ACCENT}" fill-opacity=".35"/>'
        f'<path d="M{MIDDLE} 1v16" stroke="{LINE}" stroke-width="2"/>'
        f'<circle cx="{at:.1f}" cy="9" r="5" fill="{ACCENT if fits else BAD}"/></svg>'
    )


def _text(text: str) -> str:
    return escape(for_terminal(text))
