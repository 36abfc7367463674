# SPDX-License-Identifier: Apache-2.0
"""make bench-ann GROWTH=1: how speed, build time and memory change from 10,000 to 1,000,000 rows.

The rows are generated from the first byte data set, as data.generate says, since no larger set comes with the project.
"""

import json
import math

import data
import plot
import report
from curves import speed_at
from measure import Lab
from plans import all_plans
from plans import named
from settings import shown

SEED = 20_250_301
SIZES = (10_000, 30_000, 100_000, 1_000_000)
NAMES = ("hnswlib", "VexFS hnsw", "VexFS hnsw sq8")
RECALL = 0.95


def datasets(settings):
    """The data set of every size, generated where it is not there yet."""
    sets = [s for s in settings.datasets() if s[2].suffix == ".bvecs"]
    if not sets:
        raise SystemExit("GROWTH=1 needs a data set of bytes (.bvecs) to generate rows from")
    name, metric, base_path, query_path, _ = sets[0]
    source, key = data.read_vecs(base_path), data.digest(base_path)
    for size in settings.sizes or (s for s in SIZES if not settings.quick or s <= 30_000):
        path = settings.cache / f"generated-{key}-{SEED}-{size}.bvecs"
        if not path.exists():
            print(f"generating {size:,} rows from {name}", flush=True)
            data.generate(source, size, SEED, path)
        generated = (
            f"GENERATED: rows of {name}" if size <= len(source) else f"GENERATED: {len(source):,} rows of {name} and rows made from them"
        )
        yield data.load(f"{name} x {size:,}", metric, path, query_path, None, settings.cache, generated=generated)


def run(settings, top):
    sizes, points = {}, {}
    for dataset in datasets(settings):
        print(f"\n=== {dataset.describe()}", flush=True)
        lab = Lab(dataset, settings)
        plans = [p for p in all_plans(dataset.rows, dataset.dim, settings) if p.name in NAMES]
        plans = [p for p in plans if not settings.wanted or named(p, settings.wanted)]
        indexes = [index for plan in plans if (index := lab.open(plan))]
        for index in indexes:
            lab.calibrate(index)
        lab.time(indexes)
        lab.close(indexes)
        sizes[dataset.rows] = {}
        for index in indexes:
            speed = speed_at(index.points, RECALL, settings.clock)
            sizes[dataset.rows][index.plan.name] = {
                "qps": speed and speed.qps,
                "cost": speed and 1e6 / speed.qps,
                "rows_per_second": index.build["rows_per_second"],
                "build_seconds": dataset.rows / index.build["rows_per_second"],
                "memory": index.memory / dataset.rows,
                "earlier": bool(index.build.get("earlier")),
                **compared(index),
            }
            points.setdefault(index.plan.name, {})[dataset.rows] = report.record(index, settings.clock)
        # After each size: a run that is ended early has told something.
        path = settings.out / "growth.json"
        generated = "rows generated from a data set of SIFT descriptors"
        told = top | {"generated": generated, "sizes": sizes, "points": points}
        path.write_text(json.dumps(told, indent=1, default=report.plain) + "\n")
        drawn = plot.growth(sizes, top, settings.out, generated)
    print_sizes(sizes)
    for figure in drawn:
        print(f"drawn: {shown(figure)}")
    print(f"results: {shown(path)}")


def compared(index):
    """Rows compared a query at the first point that reaches the recall."""
    for point in sorted(index.points, key=lambda p: p.recall):
        if point.recall >= RECALL and "distances" in point.facts:
            return {"distances": point.facts["distances"]}
    return {}


def print_sizes(sizes):
    """Prints the table, and how cost grows with the logarithm of the number of rows."""
    print(f"\ngrowth, searches at recall {RECALL}; the rows are generated")
    rows, smallest = [], {}
    for size, figures in sorted(sizes.items()):
        for name, f in figures.items():
            if f["cost"] is None:
                rows.append([name, f"{size:,}"] + ["not reached"] + [""] * 5)
                continue
            first = smallest.setdefault(name, (size, f["cost"]))
            by_log = f["cost"] / first[1] / (math.log(size) / math.log(first[0]))
            rows.append(
                [
                    name,
                    f"{size:,}",
                    f"{f['qps']:,.0f}",
                    f"{f['cost']:.1f}",
                    f"{by_log:.2f}",
                    f"{f['distances']:,.0f}" if "distances" in f else "-",
                    f"{f['build_seconds']:,.1f}{'*' if f['earlier'] else ''}",
                    f"{f['memory']:,.0f}",
                ]
            )
    report.table(["index", "rows", "QPS", "µs a query", "growth / log n", "compared", "build s", "bytes a row"], rows)
