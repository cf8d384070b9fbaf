"""How long the page takes with many relocations, in Debian's chromium, headless: python tests/benchmarks/page.py

Opening is measured from the start of the navigation until the page's program has run, which is when keys and slider
answer; a movement of the slider and a step of scrolling until the next frame is drawn. Medians of several rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.workload import make
from browser.chromium import Browser, installed, start
from records import recorded_hypervisor

from xsplice_loader import Host
from xsplice_loader.report.page.page import page_html

SIZES = (1_000, 10_000, 100_000)
OPENING_TARGET = 2.0
"""Seconds for the largest."""
OPENED = "return performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
FRAME = """
const done = arguments[2], [act, steps] = arguments, times = [];
const slider = document.getElementById('slider'), list = document.getElementById('list');
const acts = {
    slide: step => { slider.value = 4000 * step / steps; slider.dispatchEvent(new Event('input')); },
    scroll: step => { list.scrollTop = list.scrollHeight * step / steps; },
};
const step = number => {
    if (number === steps) { done(times); return; }
    const before = performance.now();
    acts[act](number);
    requestAnimationFrame(() => { const channel = new MessageChannel();
        channel.port1.onmessage = () => { times.push(performance.now() - before); step(number + 1); };
        channel.port2.postMessage(0); });
};
step(0);
"""


def opening(browser: Browser, page: Path, rounds: int) -> float:
    """Return the median of the seconds until the page answers."""
    times = []
    for _ in range(rounds):
        browser.driver.get("about:blank")
        browser.open(page)
        times.append(float(browser.run(OPENED)))
    return statistics.median(times)


def frames(browser: Browser, act: str) -> float:
    """Return the 95th percentile of the milliseconds until the next frame."""
    times: list[float] = browser.driver.execute_async_script(FRAME, act, 120)
    return statistics.quantiles(times, n=20)[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    hypervisor = recorded_hypervisor("4.17.7")
    print("| relocations | base | page | made in | opens in | slider, p95 | scrolling, p95 |")
    print("|---|---|---|---|---|---|---|")
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        browser = start(*installed(), folder / "profile")
        try:
            for size in SIZES:
                data = make(size, hypervisor).data
                for vmap, base in (("xen", "in reach"), ("default", "too far")):
                    host = Host(hypervisor, max_size=0, vmap=vmap)
                    result = host.upload("payload", data)
                    before = time.perf_counter()
                    made = page_html(host, [result], [])
                    took = time.perf_counter() - before
                    page = folder / f"{size}-{vmap}.html"
                    page.write_bytes(made)
                    opened = opening(browser, page, rounds)
                    slowest = max(slowest, opened)
                    print(
                        f"| {size:,} | {base} | {len(made) / 1e6:.1f} MB | {took:.2f} s | {opened:.2f} s "
                        f"| {frames(browser, 'slide'):.0f} ms | {frames(browser, 'scroll'):.0f} ms |"
                    )
        finally:
            browser.driver.quit()
    print(f"\n{SIZES[-1]:,} relocations open in {slowest:.2f} s (at most {OPENING_TARGET} s)")


if __name__ == "__main__":
    main()
