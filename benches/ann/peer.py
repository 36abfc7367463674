# SPDX-License-Identifier: Apache-2.0
"""Holds one index of a library that VexFS is compared with, and obeys the commands of worker.py on standard input.

Every search is one call for all queries, so the time is that of the library's own loop on one thread and no Python
overhead per query counts against it. For the cosine, vectors are given at unit length and compared by inner product (by
l2 where the library needs a metric): the same order, cheaper for the library than its own cosine.

    load base=FILE query=FILE metric=l2|cosine|ip rows=N
    build index=NAME path=FILE m=16 ...         builds on one thread and saves
    open index=NAME path=FILE                   loads what was saved, and tells memory
    search k=10 ef=64 passes=1 queries=N        runs the queries, tells seconds, and gives the row numbers
"""

import ctypes
import importlib.metadata
import json
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

import data


class Library:
    # Whether building and saving are one call.
    saves_while_building = False


class Hnswlib(Library):
    package = "hnswlib"

    def __init__(self, metric, dim):
        import hnswlib

        self.index = hnswlib.Index({"l2": "l2"}.get(metric, "ip"), dim)

    def build(self, base, o):
        self.index.init_index(len(base), M=o["m"], ef_construction=o["efc"])
        self.index.set_num_threads(o["threads"])
        self.index.add_items(base, num_threads=o["threads"])

    def save(self, path):
        self.index.save_index(path)

    def open(self, path, base, rows, o):
        self.index.load_index(path, max_elements=rows)

    def prepare(self, o):
        self.index.set_ef(max(o["ef"], o["k"]))

    def search(self, queries, o):
        return self.index.knn_query(queries, o["k"], num_threads=1)[0]


class Faiss(Library):
    package = "faiss-cpu"
    refined = False

    def __init__(self, metric, dim):
        import faiss

        self.faiss, self.dim, self.l2 = faiss, dim, metric == "l2"
        self.metric = faiss.METRIC_L2 if self.l2 else faiss.METRIC_INNER_PRODUCT
        faiss.omp_set_num_threads(1)

    def build(self, base, o):
        self.faiss.omp_set_num_threads(o["threads"])
        self.index = self.make(o)
        if not self.index.is_trained:
            self.index.train(base)
        self.index.add(base)
        self.faiss.omp_set_num_threads(1)

    def save(self, path):
        self.faiss.write_index(self.index, path)

    def open(self, path, base, rows, o):
        self.index = self.faiss.read_index(path)
        self.inner = self.index
        if self.refined:
            # The full vectors that candidates are ranked by: memory that counts, as it does for every other index.
            rows = base()
            self.index = self.faiss.IndexRefineFlat(self.inner, self.faiss.swig_ptr(rows))

    def prepare(self, o):
        if self.refined:
            self.index.k_factor = o["rerank"] / o["k"]

    def search(self, queries, o):
        return self.index.search(queries, o["k"])[1]


class FaissHnsw(Faiss):
    def make(self, o):
        index = self.faiss.IndexHNSWFlat(self.dim, o["m"], self.metric)
        index.hnsw.efConstruction = o["efc"]
        return index

    def prepare(self, o):
        super().prepare(o)
        self.inner.hnsw.efSearch = o["ef"]


class FaissHnswSq8(FaissHnsw):
    def make(self, o):
        index = self.faiss.IndexHNSWSQ(self.dim, self.faiss.ScalarQuantizer.QT_8bit, o["m"], self.metric)
        index.hnsw.efConstruction = o["efc"]
        return index


class FaissHnswSq8Refined(FaissHnswSq8):
    refined = True


class FaissIvf(Faiss):
    def make(self, o):
        self.quantizer = self.faiss.IndexFlat(self.dim, self.metric)
        return self.faiss.IndexIVFFlat(self.quantizer, self.dim, o["nlist"], self.metric)

    def prepare(self, o):
        super().prepare(o)
        self.inner.nprobe = o["nprobe"]


class FaissIvfPq(FaissIvf):
    refined = True

    def make(self, o):
        self.quantizer = self.faiss.IndexFlat(self.dim, self.metric)
        return self.faiss.IndexIVFPQ(self.quantizer, self.dim, o["nlist"], o["pq_bytes"], 8, self.metric)


class FaissIvfPqFastScan(FaissIvf):
    refined = True

    def make(self, o):
        self.quantizer = self.faiss.IndexFlat(self.dim, self.metric)
        return self.faiss.IndexIVFPQFastScan(self.quantizer, self.dim, o["nlist"], 2 * o["pq_bytes"], 4, self.metric)


class FaissLsh(Faiss):
    refined = True

    def __init__(self, metric, dim):
        super().__init__(metric, dim)
        if metric == "ip":
            raise ValueError("IndexLSH knows no inner product")

    def make(self, o):
        # Rotated, and with thresholds at the medians: without these, vectors of positive elements share most bits.
        return self.faiss.IndexLSH(self.dim, o["bits"], True, True)


class FaissFlat(Faiss):
    def make(self, o):
        return self.faiss.IndexFlat(self.dim, self.metric)

    def search(self, queries, o):
        # One query at a time, as a searcher comes: a block of queries at once would be a matrix product.
        return np.concatenate([self.index.search(queries[i : i + 1], o["k"])[1] for i in range(len(queries))])


class Usearch(Library):
    package = "usearch"
    dtype = "f32"

    def __init__(self, metric, dim):
        from usearch.index import Index

        self.kind, self.metric, self.dim, self.scale = Index, "l2sq" if metric == "l2" else "ip", dim, None

    def make(self, o):
        return self.kind(
            ndim=self.dim,
            metric=self.metric,
            dtype=self.dtype,
            connectivity=o["m"],
            expansion_add=o["efc"],
            expansion_search=64,
        )

    def scaled(self, rows):
        return rows if self.scale is None else rows * self.scale

    def build(self, base, o):
        self.index = self.make(o)
        self.index.add(np.arange(len(base), dtype="u8"), self.scaled(base), threads=o["threads"])

    def save(self, path):
        self.index.save(path)

    def open(self, path, base, rows, o):
        self.index = self.make(o)
        self.index.load(path)

    def prepare(self, o):
        self.index.expansion_search = o["ef"]

    def search(self, queries, o):
        return self.index.search(self.scaled(queries), o["k"], threads=1).keys


class UsearchBf16(Usearch):
    dtype = "bf16"


class UsearchI8(Usearch):
    dtype = "i8"

    # It maps -1..1 to its bytes: the largest element becomes 1.
    def measure(self, base):
        self.scale = np.float32(1 / max(np.abs(base).max(), 1e-30))

    def build(self, base, o):
        self.measure(base)
        super().build(base, o)

    def open(self, path, base, rows, o):
        super().open(path, base, rows, o)
        self.measure(base())


class DiskAnn(Library):
    package = "diskannpy"
    saves_while_building = True

    def __init__(self, metric, dim):
        import diskannpy

        self.api, self.metric = diskannpy, "mips" if metric == "ip" else "l2"

    def build(self, base, o):
        self.built = base, o

    def save(self, path):
        base, o = self.built
        os.makedirs(path, exist_ok=True)
        self.api.build_memory_index(
            base,
            distance_metric=self.metric,
            index_directory=path,
            complexity=o["efc"],
            graph_degree=o["r"],
            num_threads=o["threads"],
            alpha=o["alpha"],
        )

    def open(self, path, base, rows, o):
        self.index = self.api.StaticMemoryIndex(path, num_threads=1, initial_search_complexity=512)

    def prepare(self, o):
        pass

    def search(self, queries, o):
        return self.index.batch_search(queries, o["k"], max(o["ef"], o["k"]), 1).identifiers


KINDS = {
    "hnswlib": Hnswlib,
    "faiss-hnsw": FaissHnsw,
    "faiss-hnsw-sq8": FaissHnswSq8,
    "faiss-hnsw-sq8-refine": FaissHnswSq8Refined,
    "faiss-ivf": FaissIvf,
    "faiss-ivfpq": FaissIvfPq,
    "faiss-ivfpq-fs": FaissIvfPqFastScan,
    "faiss-lsh": FaissLsh,
    "faiss-flat": FaissFlat,
    "usearch-f32": Usearch,
    "usearch-bf16": UsearchBf16,
    "usearch-i8": UsearchI8,
    "diskann": DiskAnn,
}


def resident():
    """Resident bytes of this process, without what the allocator merely keeps."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def size_of(path):
    path = Path(path)
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


class Peer:
    """The commands."""

    def load(self, o):
        self.files = o
        self.queries = self.prepared(data.read_vecs(o["query"]))
        self.rows = data.count_vecs(o["base"], o.get("rows"))
        return {"rows": self.rows}

    def prepared(self, matrix):
        return data.normalized(matrix) if self.files["metric"] == "cosine" else np.ascontiguousarray(matrix, "f4")

    def base(self):
        return self.prepared(data.read_vecs(self.files["base"], self.files.get("rows")))

    def make(self, o):
        return KINDS[o["index"]](self.files["metric"], self.queries.shape[1])

    def build(self, o):
        index, base = self.make(o), self.base()
        wall, cpu = time.perf_counter(), time.process_time()
        index.build(base, o)
        if index.saves_while_building:
            index.save(o["path"])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if not index.saves_while_building:
            index.save(o["path"])
        version = importlib.metadata.version(index.package)
        return {"seconds": wall, "cpu": cpu, "index_bytes": size_of(o["path"]), "version": version}

    def open(self, o):
        self.index = self.make(o)
        before = resident()
        self.index.open(o["path"], self.base, self.rows, o)
        return {"memory": resident() - before, "index_bytes": size_of(o["path"])}

    def search(self, o):
        queries = self.queries[: o.get("queries", len(self.queries))]
        self.index.prepare(o)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(o.get("passes", 1)):
            found = self.index.search(queries, o)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        found = np.asarray(found).astype("i8")
        found[(found < 0) | (found >= self.rows)] = -1
        return {"seconds": wall, "cpu": cpu, "data": found.astype("<i4").tobytes()}


def value(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def main():
    # Libraries print: answers go where standard output went, and their text goes to the log.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    peer = Peer()
    for line in sys.stdin:
        verb, *words = line.split()
        options = {name: value(text) for name, _, text in (word.partition("=") for word in words)}
        try:
            answer = {"load": peer.load, "build": peer.build, "open": peer.open, "search": peer.search}[verb](options)
        except Exception as e:  # a library's failure is an answer, not the end of the run
            traceback.print_exc()
            answer = {"error": f"{type(e).__name__}: {e}"}
        found = answer.pop("data", b"")
        answer["bytes"] = len(found)
        answers.write(json.dumps(answer).encode() + b"\n" + found)
        answers.flush()


main()
