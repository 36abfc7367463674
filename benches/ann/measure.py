# SPDX-License-Identifier: Apache-2.0
"""Building indexes and timing searches: every index in a process of its own, all of them in turns."""

import dataclasses
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import data
from curves import Point
from curves import frontier
from plans import named
from worker import Refused
from worker import Worker

HERE = Path(__file__).resolve().parent
K = 10

# Changes with what peers are built by, so that indexes of older versions are not taken from the cache.
BUILD_VERSION = 1


@dataclasses.dataclass
class Index:
    """A built index that answers searches."""

    plan: object
    worker: Worker
    build: dict
    memory: int
    facts: dict
    points: list


class Lab:
    """Where indexes of one data set are built and run."""

    def __init__(self, dataset, settings):
        self.dataset, self.settings = dataset, settings
        settings.work.mkdir(parents=True, exist_ok=True)
        settings.indexes.mkdir(parents=True, exist_ok=True)
        self.log = open(settings.work / "workers.log", "ab")

    def start(self, plan):
        s = self.settings
        if plan.ours:
            worker = Worker([s.engine], self.log)
        else:
            python = s.python_of.get(plan.code_name, sys.executable)
            if python is None:
                raise Refused("its package cannot be installed here")
            worker = Worker([python, HERE / "peer.py"], self.log)
        worker.name = plan.name
        element = s.element if plan.ours else None
        files = {"base": self.dataset.base_path, "query": self.dataset.query_path}
        worker.ask("load", **files, metric=self.dataset.metric, rows=self.dataset.rows, element=element)
        return worker

    def place(self, plan):
        """Where an index is kept, under a name that says all that it depends on."""
        words = {k: v for k, v in plan.build.items()}
        if plan.ours:
            # Of this build of the engine, and of this run alone unless it may be used again.
            words |= {"engine": str(self.settings.engine), "element": self.settings.element}
            words |= {} if self.settings.reuse else {"run": os.getpid()}
        else:
            words |= {"version": self.settings.version_of(plan), "by": BUILD_VERSION}
        words |= {"threads": self.settings.threads}
        name = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:12]
        return self.settings.indexes / f"{plan.code_name}-{self.dataset.key}-{name}"

    def built(self, plan):
        """Builds an index, or finds it built. Returns the path and what the build told."""
        path = self.place(plan)
        notes = path.with_name(path.name + ".json")
        fresh = self.settings.fresh
        keep = self.settings.reuse if plan.ours else fresh in ("", "0") or not (fresh == "1" or named(plan, fresh))
        if keep and path.exists() and notes.exists():
            return path, json.loads(notes.read_text()) | {"earlier": True}
        remove(path)
        notes.unlink(missing_ok=True)
        with self.start(plan) as worker:
            told = worker.ask("build", path=path, threads=self.settings.threads, **plan.build)
        told["rows_per_second"] = self.dataset.rows / max(told[self.settings.clock_name], 1e-9)
        notes.write_text(json.dumps(told))
        return path, told

    def open(self, plan):
        """An index ready to be searched, or None with a line that says why not."""
        try:
            began = time.monotonic()
            path, told = self.built(plan)
            worker = self.start(plan)
            facts = worker.ask("open", path=path, **plan.build)
        except Refused as e:
            print(f"  {plan.name}: skipped: {e}", flush=True)
            if plan.ours:
                self.place(plan).unlink(missing_ok=True)
            return None
        if plan.ours and not self.settings.reuse:
            path.unlink(missing_ok=True)  # the process keeps it open
        earlier = " (built in an earlier run)" if told.get("earlier") else ""
        print(
            f"  {plan.name}: {told['rows_per_second']:,.0f} rows/s, {facts['memory'] / 2**20:,.0f} MiB{earlier}, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
        return Index(plan, worker, told, facts["memory"], facts, [])

    def calibrate(self, index, truth=None, extra=None):
        """Runs each of an index's searches once to find its recall, and drops those that cannot matter."""
        extra = extra or {}
        queries = len(self.dataset.queries)
        points = []
        for options in index.plan.searches:
            try:
                # What a query takes, for searches that are slow: then fewer of them are timed.
                probe, _ = index.worker.search(K, queries=min(20, queries), **options, **extra)
                each = max(probe["seconds"], 1e-6) / min(20, queries)
                count = max(50, min(queries, int(self.settings.slowest / each)))
                told, found = index.worker.search(K, queries=min(count, queries), **options, **extra)
            except Refused as e:
                print(f"  {index.plan.name} {options}: {e}", flush=True)
                break
            point = Point(options, data.recall(self.dataset, found, K, truth))
            point.facts = {k: v for k, v in told.items() if k not in ("seconds", "cpu", "bytes")}
            point.queries = len(found)
            each = max(told["seconds"], 1e-6)
            point.passes = max(1, round(self.settings.shortest / each))
            point.cpu, point.wall = [told["cpu"] / len(found)], [told["seconds"] / len(found)]
            points.append(point)
            if len(options) == 1 and point.recall >= 0.9995:
                break
        near = frontier(points, "cpu")
        kept, seen = [], set()
        for point in points:
            # Options that change nothing give the same point again.
            same = point.recall, point.facts.get("distances")
            if len(point.options) > 1 and None not in same and same in seen:
                continue
            seen.add(same)
            better = [p for p in near if p.recall >= point.recall and p is not point]
            hopeless = any(p.qps("cpu") > 1.25 * point.qps("cpu") for p in better)
            if len(point.options) < 2 or not hopeless:
                kept.append(point)
        index.points = [p for p in kept if p.recall >= self.settings.lowest] or kept[-1:]
        for point in index.points:
            point.cpu, point.wall = [], []

    def time(self, indexes, extra=None):
        """Times the points of all indexes in turns: every repeat visits all points, and neighbours of similar recall."""
        turns = [(i, p) for i in indexes for p in i.points]
        turns.sort(key=lambda turn: turn[1].recall)
        for _ in range(self.settings.repeats):
            for index, point in turns:
                told, found = index.worker.search(
                    K, queries=point.queries, passes=point.passes, **point.options, **(extra or {})
                )
                searches = point.queries * point.passes
                point.cpu.append(told["cpu"] / searches)
                point.wall.append(told["seconds"] / searches)

    def close(self, indexes):
        for index in indexes:
            index.worker.close()
        self.log.close()


def remove(path):
    """Removes a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
