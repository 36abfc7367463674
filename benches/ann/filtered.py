# SPDX-License-Identifier: Apache-2.0
"""Filtered search: recall and speed where only some of the rows match.

ann-engine gives row i the payload field `part`, an integer 0 to 999 that `parts` computes here as well, so that
`part < n` matches n thousandths of the rows, and which ones has nothing to do with where they lie.
"""

import statistics

import numpy as np

import data
from curves import speed_at
from measure import K
from measure import Lab
from plans import EF
from plans import Plan

SELECTIVITIES = (0.5, 0.1, 0.01, 0.001)
RECALL = 0.95


def parts(rows):
    """The value of `part` of every row: the upper bits of a multiplicative hash (Knuth, TAOCP 3, 6.4), modulo 1,000."""
    number = np.arange(rows, dtype="u8") * np.uint64(0x9E3779B97F4A7C15)
    return (number >> np.uint64(40)) % np.uint64(1000)


def measure(dataset, settings):
    """A list with a dictionary a selectivity, or None where the engine has no filters."""
    lab = Lab(dataset, settings)
    build = {"index": "hnsw", "m": settings.m, "efc": settings.efc, "payload": 1}
    ef = EF[1::2] if settings.quick else EF[:-2]
    plan = Plan("VexFS hnsw with payloads", "filter", True, build, [{"ef": e} for e in ef])
    print("\nfiltered search", flush=True)
    index = lab.open(plan)
    if not index:
        return None
    number = parts(dataset.rows)
    lab.calibrate(index)
    lab.time([index])
    unfiltered = index.points
    results = []
    for selectivity in SELECTIVITIES:
        below = int(1000 * selectivity)
        rows = np.flatnonzero(number < below)
        truth = data.exact_neighbours(dataset.metric, dataset.base[rows], dataset.queries, K)
        truth = np.pad(rows[truth], ((0, 0), (0, K - truth.shape[1])), constant_values=-1)
        extra = {"below": below}
        index.plan.searches = plan.searches
        lab.calibrate(index, truth, extra)
        if not index.points:
            continue
        lab.time([index], extra)
        # Both at the recall that is demanded; what is exact has more.
        at_recall = speed_at(index.points, RECALL, settings.clock)
        fast = [p for p in index.points if p.recall >= RECALL]
        point = max(fast, key=lambda p: p.qps(settings.clock)) if fast else max(index.points, key=lambda p: p.recall)
        speed = speed_at(unfiltered, RECALL, settings.clock)
        exact = []
        for _ in range(settings.repeats):
            told, _found = index.worker.search(K, queries=min(100, point.queries), exact=1, **extra)
            exact.append(min(100, point.queries) / told["cpu" if settings.clock == "cpu" else "seconds"])
        _, found = index.worker.search(K, **point.options, **extra)
        choice = point.facts.get("choice", "?")
        results.append(
            {
                "selectivity": selectivity,
                "matching": len(rows),
                "options": point.options,
                "recall": data.recall(dataset, found, K, truth),
                "qps": at_recall.qps if at_recall else point.qps(settings.clock),
                "unfiltered_qps": speed.qps if speed else float("nan"),
                "exact_qps": statistics.median(exact),
                "choice": choice,
                "exact chosen": choice.lower() == "scan",
                "fewest": int((found >= 0).sum(1).min()),
                "wanted": int(min(K, len(rows))),
                "points": [{"options": p.options, "recall": p.recall, "qps": p.qps(settings.clock)} for p in index.points],
            }
        )
    lab.close([index])
    return results
