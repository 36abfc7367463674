# SPDX-License-Identifier: Apache-2.0
"""Recall against speed: the best points of an index, and the speed at a recall between them."""

import dataclasses
import math
import statistics


@dataclasses.dataclass
class Point:
    """What one set of search options gives: recall and the times of all repeats, in seconds a query."""

    options: dict
    recall: float
    cpu: list = dataclasses.field(default_factory=list)
    wall: list = dataclasses.field(default_factory=list)
    facts: dict = dataclasses.field(default_factory=dict)
    queries: int = 0
    passes: int = 1

    def qps(self, clock):
        times = getattr(self, clock)
        return 1 / statistics.median(times) if times else math.nan


def frontier(points, clock):
    """The points that no other point beats in both recall and speed, by ascending recall."""
    best = []
    for point in sorted(points, key=lambda p: (-p.recall, -p.qps(clock))):
        if not best or point.qps(clock) > best[-1].qps(clock):
            best.append(point)
    return best[::-1]


@dataclasses.dataclass
class Speed:
    """QPS at a recall. `at_least`: every measured point has a higher recall, so it would be faster still."""

    qps: float
    at_least: bool = False

    def __str__(self):
        return f"{'≥ ' if self.at_least else ''}{self.qps:,.0f}"


def speed_at(points, recall, clock):
    """QPS at `recall`: log QPS is interpolated linearly between the two points around it. None: not reached."""
    best = frontier(points, clock)
    if not best or best[-1].recall < recall:
        return None
    if best[0].recall >= recall:
        return Speed(best[0].qps(clock), best[0].recall > recall)
    for low, high in zip(best, best[1:]):
        if high.recall >= recall:
            share = (recall - low.recall) / (high.recall - low.recall)
            logs = [math.log(p.qps(clock)) for p in (low, high)]
            return Speed(math.exp(logs[0] + share * (logs[1] - logs[0])))
    return None
