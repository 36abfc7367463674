# SPDX-License-Identifier: Apache-2.0
"""What the environment asks for. `make bench-ann NAME=value` puts the names there; scripts/bench-ann says what they mean."""

import importlib.metadata
import os
import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = ("curves", "exact", "insert", "filter")
PACKAGES = ("hnswlib", "faiss-cpu", "usearch", "diskannpy", "numpy")


def shown(path):
    """A path as it is printed: from the repository if it is in there."""
    path = Path(path)
    return path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path


def _number(name, default):
    text = os.environ.get(name, "")
    try:
        return type(default)(text) if text else default
    except ValueError:
        raise SystemExit(f"{name}={text} is not a number") from None


def _flag(name):
    return os.environ.get(name, "") not in ("", "0")


class Settings:
    """All settings of a run."""

    def __init__(self):
        env = os.environ.get
        self.cache = Path(env("BENCH_ANN_CACHE") or Path.home() / ".cache/vexfs/bench-ann")
        self.engine = Path(env("ANN_ENGINE") or REPOSITORY / "target/release/ann-engine")
        diskann_python = env("DISKANN_PYTHON")
        self.python_of = {"diskann": diskann_python or None}
        self.indexes, self.work = self.cache / "indexes", self.cache / "work"
        self.quick, self.growth = _flag("QUICK"), _flag("GROWTH")
        self.repeats = _number("REPEATS", 3 if self.quick else 5)
        self.threads = _number("THREADS", 1)
        self.rows = _number("ROWS", 0) or None
        self.m, self.efc = _number("M", 16), _number("EFC", 200)
        self.pq_bytes = _number("PQ_BYTES", 0)
        self.sizes = [int(size) for size in (env("SIZES") or "").split(",") if size]
        self.element = env("ELEMENT") or "f32"
        self.wanted = env("INDEXES") or ""
        self.reuse = _flag("REUSE")
        self.clock = env("CLOCK") or "cpu"
        if self.clock not in ("cpu", "wall"):
            raise SystemExit("CLOCK is cpu or wall")
        self.clock_name = "cpu" if self.clock == "cpu" and self.threads == 1 else "seconds"
        self.parts = tuple((env("PARTS") or ("curves" if self.wanted else ",".join(PARTS))).split(","))
        if unknown := set(self.parts) - set(PARTS):
            raise SystemExit(f"PARTS={','.join(unknown)}: there are {', '.join(PARTS)}")
        # Seconds that one timed turn lasts at least, and those of the slowest searches at most; recall that is of interest.
        self.shortest, self.slowest, self.lowest = (0.05, 0.5, 0.6) if self.quick else (0.2, 2.0, 0.6)
        complete = not (self.quick or self.wanted or env("BASE") or env("PARTS") or env("ROWS") or env("SIZES"))
        # The build speeds that ratios are made of come from this run.
        self.fresh = env("FRESH") or ("hnswlib,faiss-hnswflat" if complete else "")
        self.out = Path(env("RESULTS") or (REPOSITORY / "docs/bench" if complete else self.cache / "results"))
        self.versions = self._versions(diskann_python)

    def _versions(self, diskann_python):
        found = {}
        for package in PACKAGES:
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                pass
        if diskann_python:
            ask = "import importlib.metadata as m; print(m.version('diskannpy'))"
            found["diskannpy"] = subprocess.check_output([diskann_python, "-c", ask], text=True).strip()
        return found

    def version_of(self, plan):
        """The version of the package that a peer's plan uses."""
        package = {"faiss": "faiss-cpu", "diskann": "diskannpy"}.get(plan.code_name.split("-")[0], plan.code_name.split("-")[0])
        return self.versions.get(package, "?")

    def datasets(self):
        """(name, metric, base, query, truth) of every data set asked for."""
        env = os.environ.get
        if env("BASE"):
            if not env("QUERY"):
                raise SystemExit("BASE= needs QUERY=, and METRIC=l2, cosine or ip (l2 if not given)")
            base, metric = Path(env("BASE")), env("METRIC") or "l2"
            if metric not in ("l2", "cosine", "ip"):
                raise SystemExit("METRIC is l2, cosine or ip")
            name = env("NAME") or re.sub(r"_?base$", "", base.stem) or base.stem
            return [(name, metric, base, Path(env("QUERY")), env("TRUTH"))]
        folders = [env("DATA"), self.cache / "data", REPOSITORY.parent / "shared/data", REPOSITORY / "tests/data"]
        for folder in [Path(f) for f in folders if f]:
            found = list(self._sets_of(folder))
            if found:
                return found
        raise SystemExit("no data: give BASE=, QUERY= and METRIC=, or DATA= with a folder of NAME_base.fvecs and so on")

    def _sets_of(self, folder):
        for base in sorted(folder.glob("*_base.[fb]vecs")):
            name = base.stem.removesuffix("_base")
            queries = sorted(folder.glob(f"{name}_query.[fb]vecs"))
            truths = sorted(folder.glob(f"{name}_*_top*.ivecs"))
            wanted = os.environ.get("SETS", "")
            if queries and (not wanted or name in wanted.split(",")):
                kind = truths[0].stem.split("_")[-2] if truths else os.environ.get("METRIC", "l2")
                yield name, {"cos": "cosine"}.get(kind, kind), base, queries[0], truths[0] if truths else None


def machine():
    """The CPU's name, how many there are, and how large its last cache is."""
    cpu, caches = "unknown CPU", []
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    for size in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        caches.append(int(size.read_text().strip().rstrip("K")) // 1024)
    flags = set(re.findall(r"avx2|avx512f|avx512_vnni|avx512_bf16|amx_tile", Path("/proc/cpuinfo").read_text()))
    return f"{cpu}, {os.cpu_count()} CPUs, {max(caches, default=0)} MiB last-level cache, {' '.join(sorted(flags))}"
