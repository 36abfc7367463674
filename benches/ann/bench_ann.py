# SPDX-License-Identifier: Apache-2.0
"""make bench-ann: VexFS beside hnswlib, faiss, usearch and diskannpy, on the same vectors, on one thread, in turns.

docs/bench/README.md says what is measured how. What is printed is also kept as text, and all figures as JSON.
"""

import datetime
import json
import subprocess
import sys

import data
import filtered
import growth
import plot
import report
from measure import Lab
from plans import all_plans
from plans import chosen
from settings import REPOSITORY
from settings import Settings
from settings import machine
from settings import shown
from worker import Refused
from worker import Worker


class Both:
    """Standard output, and a file that gets the same."""

    def __init__(self, path):
        self.outputs = sys.stdout, open(path, "w", encoding="utf-8")

    def write(self, text):
        for output in self.outputs:
            output.write(text)

    def flush(self):
        for output in self.outputs:
            output.flush()


def header(settings):
    commit = subprocess.run(
        ["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": {"vexfs": commit.stdout.strip() or "unknown"} | settings.versions,
        "clock": settings.clock,
        "repeats": settings.repeats,
        "threads": settings.threads,
    }


def curves(dataset, settings):
    """Builds all indexes, times them in turns, returns them with their points."""
    lab = Lab(dataset, settings)
    plans = chosen(all_plans(dataset.rows, dataset.dim, settings), settings.wanted, settings.quick)
    print(f"\nbuilding, {settings.threads} thread(s)", flush=True)
    indexes = [index for plan in plans if (index := lab.open(plan))]
    for index in indexes:
        lab.calibrate(index)
    print(f"timing {sum(len(i.points) for i in indexes)} points, {settings.repeats} repeats in turns", flush=True)
    lab.time(indexes)
    lab.close(indexes)
    return indexes


def engine_part(settings, verb, **options):
    """One measurement that needs nothing but the engine; None with a line that says why not."""
    settings.work.mkdir(parents=True, exist_ok=True)
    with open(settings.work / "workers.log", "ab") as log, Worker([settings.engine], log) as worker:
        try:
            return worker.ask(verb, **options)
        except Refused as e:
            print(f"{verb}: {e}", flush=True)
            return None


def measure(dataset, settings):
    """All parts for one data set. Returns what the report needs."""
    results = {"dataset": dataset.describe(), "name": dataset.name, "rows": dataset.rows, "dim": dataset.dim}
    results["metric"] = dataset.metric
    if "curves" in settings.parts:
        indexes = curves(dataset, settings)
        results["indexes"] = [report.record(i, settings.clock) for i in indexes]
    if "exact" in settings.parts:
        mib, turns = (256, 3) if settings.quick else (1024, 9)
        results["exact"] = engine_part(
            settings, "bandwidth", base=dataset.base_path, metric=dataset.metric, mib=mib, turns=turns
        )
    if "insert" in settings.parts:
        place = settings.work / "insert.img"
        results["insert"] = engine_part(
            settings, "insert", base=dataset.base_path, metric=dataset.metric, path=place, batch=1000, repeats=settings.repeats
        )
    if "filter" in settings.parts:
        results["filter"] = filtered.measure(dataset, settings)
    return results


def main():
    settings = Settings()
    settings.cache.mkdir(parents=True, exist_ok=True)
    settings.out.mkdir(parents=True, exist_ok=True)
    sys.stdout = Both(settings.out / ("growth.txt" if settings.growth else "bench-ann.txt"))
    top = header(settings)
    print(report.title(top))
    if settings.growth:
        growth.run(settings, top)
        return
    results = []
    for name, metric, base, query, truth in settings.datasets():
        dataset = data.load(name, metric, base, query, truth, settings.cache, settings.rows)
        print(f"\n=== {dataset.describe()}", flush=True)
        results.append(measure(dataset, settings))
        report.tables(results[-1], settings.clock)
        if "curves" in settings.parts:
            for path in plot.curves(results[-1], top, settings.out):
                print(f"drawn: {shown(path)}")
        # Kept after each data set: a run that is ended early has told something.
        ratios = report.ratios(results)
        path = settings.out / "bench-ann.json"
        path.write_text(json.dumps(top | {"results": results, "ratios": ratios}, indent=1, default=report.plain) + "\n")
    report.print_ratios(ratios)
    print(f"\nresults: {shown(path)}")


main()
