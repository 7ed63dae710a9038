"""How long reports take: one with all of its files and charts, and a night of 500 with the digest of their team.

    python benchmarks/reports.py [report_one | reports_500]

The nights are those of the report's tests with their earlier nights. 500 are shared by two processes, and a third
writes the digest; the time is the processor time of the longer of the two and of the digest, with start and imports.
"""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from measure import median_seconds, report, wanted

BENCHMARKS = ("report_one", "reports_500")
TOP = Path(__file__).parents[1]
CASES = ("ship", "do_not_ship", "look", "not_computed", "three_variants")
AS_OF = dt.date(2026, 3, 9)
REPORTS, TEAM = 500, "payments"


def report_one() -> None:
    """The report of the longest night of the tests, 13 nights before it: ten files and two charts."""
    from abtest_lib import pipeline

    with tempfile.TemporaryDirectory() as folder:
        (night,) = store(Path(folder), 1)
        seconds = median_seconds(lambda: pipeline.report(night))
        missing = {"forest.png", "nights.png", "mail.html", "report.html", "slack.json"} - {
            path.name for path in night.iterdir()
        }
        if missing:
            raise SystemExit(f"reports: the report has no {sorted(missing)}.")
    report("report_one", 1_000 * seconds, "ms", compared_with="the limit of 300 ms", reference=300, goal=1.0)


def reports_500() -> None:
    """500 reports by two processes, then the digest of their team; and the most memory that one of the three had."""
    with tempfile.TemporaryDirectory() as folder:
        nights = store(Path(folder), REPORTS)
        begun = time.perf_counter()
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=spawned) as pool:
            reporting = list(pool.map(reports_of, (nights[::2], nights[1::2])))
        with ProcessPoolExecutor(1, mp_context=spawned) as pool:
            digest = pool.submit(digest_of, Path(folder)).result()
        print(f"{time.perf_counter() - begun:10.4g} s on the wall, with what else runs here", file=sys.stderr)
    seconds = max(taken for taken, _ in reporting) + digest[0]
    memory = max(peak for _, peak in (*reporting, digest))
    report("reports_500", seconds, "s", compared_with="the limit of 60 s", reference=60, goal=1.0)
    report("reports_500_memory", memory, "MiB", compared_with="the limit of 300 MiB", reference=300, goal=1.0)


def store(folder: Path, count: int) -> list[Path]:
    """Lay down definitions and results as ``decide`` leaves them; return the nights that are to be reported."""
    shutil.copytree(TOP / "experiments", folder / "experiments", ignore=lambda _, names: [
        name for name in names if name not in ("metrics.yaml", "sources.yaml")])  # fmt: skip
    definition = (TOP / "experiments" / "one_page_checkout.yaml").read_text()
    definition = re.sub("(?m)^ends_on: .*$", "ends_on: 2026-03-02", definition)  # so that it still runs on AS_OF
    cases = [json.loads((TOP / "tests" / "report" / "cases" / f"{case}.json").read_text()) for case in CASES]
    nights = []
    for number in range(count):
        case, key = cases[number % len(cases)], f"experiment_{number:03d}"
        titled = definition.replace("title: One-page checkout", f"title: Experiment {number}")
        (folder / "experiments" / f"{key}.yaml").write_text(titled)
        for past in case["history"]:
            lay_down(folder / "results", key, past, published=True)
        nights.append(lay_down(folder / "results", key, case["results"], published=False))
    return nights


def lay_down(results: Path, key: str, document: dict[str, Any], *, published: bool) -> Path:
    """Write ``results.json`` of a night."""
    place = results / key / document["as_of"]
    night = place / document.get("revision", "3f2a9c41d07b")
    night.mkdir(parents=True)
    own = document | {"experiment": document["experiment"] | {"key": key, "team": TEAM}}
    (night / "results.json").write_text(json.dumps(own))
    if published:
        (place / "current").write_text(f"{night.name}\n")
    return night


def reports_of(nights: list[Path]) -> tuple[float, float]:
    """Report nights; return the processor time of this process so far, and its most memory."""
    from abtest_lib import pipeline

    return used(lambda: [pipeline.report(night) for night in nights])


def digest_of(folder: Path) -> tuple[float, float]:
    """Write the digest of the team; return what ``reports_of`` does."""
    from abtest_lib import digest

    written = []
    spent = used(lambda: written.append(digest.write(folder / "experiments", folder / "results", AS_OF, team=TEAM)))
    listed = digest.collect(folder / "experiments", folder / "results", AS_OF, team=TEAM).standings
    lacking = [(one.key, one.problems) for one in listed if one.state != digest.REPORTED]
    if len(listed) != REPORTS or lacking or not (written[0] / "digest.html").is_file():
        raise SystemExit(f"reports: the digest has {len(listed)} experiments; not reported are {lacking[:3]}.")
    return spent


def used(function: Callable[[], object]) -> tuple[float, float]:
    """Call it; return this process's seconds on a processor since it began, and its most memory in MiB."""
    function()
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return time.process_time(), int(peak.split()[1]) / 1024


if __name__ == "__main__":
    print("     value unit  ratio", file=sys.stderr)
    for benchmark in wanted(BENCHMARKS):
        {"report_one": report_one, "reports_500": reports_500}[benchmark]()
