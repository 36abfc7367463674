# SPDX-License-Identifier: Apache-2.0
"""Vectors: reading .fvecs, .bvecs and .ivecs, exact neighbours, recall, and generated rows.

A vecs file has, per row, a little-endian int32 dimension and that many values: 4-byte floats (.fvecs), bytes (.bvecs) or
4-byte integers (.ivecs). All arithmetic here is numpy's; no index library takes part in what the indexes are judged by.
"""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

BLOCK_BYTES = 256 << 20


def _shape(path):
    """The type of the elements, the dimension and the number of rows of a vecs file."""
    path = Path(path)
    item = {".fvecs": np.dtype("<f4"), ".ivecs": np.dtype("<i4"), ".bvecs": np.dtype("u1")}.get(path.suffix)
    if item is None:
        raise SystemExit(f"{path}: not a .fvecs, .bvecs or .ivecs file")
    size = path.stat().st_size
    if size < 4:
        raise SystemExit(f"{path}: empty")
    dim = int(np.fromfile(path, "<i4", 1)[0])
    record = 4 + dim * item.itemsize
    if dim < 1 or size % record:
        raise SystemExit(f"{path}: {size} bytes are not whole rows of {dim} dimensions")
    return item, dim, size // record


def count_vecs(path, rows=None):
    """How many rows `read_vecs` would return."""
    count = _shape(path)[2]
    return count if rows is None else min(rows, count)


def read_vecs(path, rows=None):
    """The rows of a vecs file as a matrix of its own type, all of them or the first `rows`."""
    item, dim, whole = _shape(path)
    count = whole if rows is None else min(rows, whole)
    raw = np.memmap(path, "u1", "r", shape=(whole, 4 + dim * item.itemsize))[:count]
    if (raw[:, :4] != raw[0, :4]).any():
        raise SystemExit(f"{path}: rows of different dimensions")
    return np.ascontiguousarray(raw[:, 4:]).view(item).reshape(count, dim)


def write_vecs(path, matrix):
    """Writes a matrix of float32, int32 or uint8; the file appears when it is complete."""
    count, dim = matrix.shape
    raw = np.empty((count, 4 + dim * matrix.itemsize), "u1")
    raw[:, :4] = np.frombuffer(np.int32(dim).astype("<i4").tobytes(), "u1")
    raw[:, 4:] = np.ascontiguousarray(matrix).view("u1").reshape(count, -1)
    part = f"{path}.part"
    raw.tofile(part)
    os.replace(part, path)


def digest(path):
    """A name for the content of a file."""
    sum256 = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sum256.update(block)
    return sum256.hexdigest()[:16]


def normalized(matrix):
    """Rows of unit length."""
    lengths = np.linalg.norm(matrix.astype("f8"), axis=1, keepdims=True)
    return np.ascontiguousarray(matrix / np.maximum(lengths, 1e-30), "f4")


def distances(metric, queries, rows):
    """Distance of every row of `rows[i]` from `queries[i]`, in float64."""
    queries, rows = queries.astype("f8")[:, None, :], rows.astype("f8")
    if metric == "l2":
        return ((rows - queries) ** 2).sum(2)
    dots = (rows * queries).sum(2)
    if metric == "ip":
        return -dots
    return 1 - dots / (np.linalg.norm(rows, axis=2) * np.linalg.norm(queries, axis=2))


def exact_neighbours(metric, base, queries, k):
    """The rows nearest to each query, by (distance, row): candidates by float32 products, their order by float64."""
    base = base.astype("f4", copy=False)
    if metric == "cosine":
        base = normalized(base)
    squares = (base.astype("f8") ** 2).sum(1).astype("f4") if metric == "l2" else None
    wanted = min(len(base), k + 32)
    step = max(1, BLOCK_BYTES // (4 * len(base)))
    found = np.empty((len(queries), min(k, len(base))), "i4")
    for start in range(0, len(queries), step):
        part = queries[start : start + step].astype("f4")
        keys = part @ base.T
        keys *= -1 if metric != "l2" else -2
        if squares is not None:
            keys += squares
        if wanted < len(base):
            nearest = np.argpartition(keys, wanted - 1, axis=1)[:, :wanted]
        else:
            nearest = np.tile(np.arange(len(base)), (len(part), 1))
        nearest.sort(axis=1)
        order = np.argsort(distances(metric, part, base[nearest]), axis=1, kind="stable")[:, : found.shape[1]]
        found[start : start + step] = np.take_along_axis(nearest, order, 1)
    return found


def recall(dataset, found, k, truth=None):
    """The share of the `k` nearest that was found. A row as near as the k-th counts like it, so ties decide nothing."""
    truth = dataset.truth if truth is None else truth
    queries = dataset.queries[: len(found)]
    farthest = truth[: len(found), :k]
    present = farthest >= 0
    bound = distances(dataset.metric, queries, dataset.base[np.where(present, farthest, 0)])
    bound = np.where(present, bound, -np.inf).max(1)
    bound += 1e-6 * np.maximum(np.abs(bound), 1e-3)
    found = np.sort(found[:, :k], axis=1)
    valid = (found >= 0) & (found < len(dataset.base))
    valid[:, 1:] &= found[:, 1:] != found[:, :-1]
    near = distances(dataset.metric, queries, dataset.base[np.where(valid, found, 0)]) <= bound[:, None]
    hits, wanted = (near & valid).sum(1), present.sum(1)
    return float(np.minimum(hits, wanted).sum() / max(1, wanted.sum()))


@dataclasses.dataclass
class Dataset:
    """Base rows, queries and the exact neighbours of these."""

    name: str
    metric: str
    base_path: Path
    query_path: Path
    base: np.ndarray
    queries: np.ndarray
    truth: np.ndarray
    key: str
    generated: str = ""

    @property
    def rows(self):
        return len(self.base)

    @property
    def dim(self):
        return self.base.shape[1]

    def describe(self):
        kind = "bytes" if self.base_path.suffix == ".bvecs" else "f32"
        text = f"{self.name}: {self.rows:,} rows of {self.dim} dimensions ({kind}), {self.metric}, {len(self.queries):,} queries"
        return text + (f"; {self.generated}" if self.generated else "")


def load(name, metric, base_path, query_path, truth_path, cache, rows=None, generated=""):
    """A data set from its files. Without a file of exact neighbours they are computed once and kept in `cache`."""
    base_path, query_path = Path(base_path), Path(query_path)
    base, queries = read_vecs(base_path, rows), read_vecs(query_path)
    if base.shape[1] != queries.shape[1]:
        raise SystemExit(f"{base_path} and {query_path} have different dimensions")
    key = f"{digest(base_path)}-{len(base)}-{metric}"
    if truth_path and rows is None:
        truth = read_vecs(truth_path)
        if len(truth) != len(queries) or truth.max() >= len(base):
            raise SystemExit(f"{truth_path} belongs to other files")
    else:
        kept = cache / f"truth-{key}-{digest(query_path)}.ivecs"
        if not kept.exists():
            print(f"computing the exact neighbours of {name}", flush=True)
            write_vecs(kept, exact_neighbours(metric, base, queries, 100))
        truth = read_vecs(kept)
    return Dataset(name, metric, base_path, query_path, base, queries, truth, key, generated)


def generate(source, count, seed, path):
    """Writes `count` rows of bytes: the rows of `source`, then rows made from them.

    A made row is a random row of the source plus normal noise, in each dimension half as strong as the spread of that
    row's 16 nearest among the rows of its cell, clamped and rounded to 0..255. Cells: the rows nearest to one of 1,024
    random rows. The seed decides everything. Half, since noise that knows no correlation leads away from where real rows
    lie: with the whole spread made rows are hardly ever near a query.
    """
    random = np.random.default_rng(seed)
    if count <= len(source):
        write_vecs(path, source[random.permutation(len(source))[:count]])
        return
    real = source.astype("f4")
    centres = real[random.permutation(len(real))[:1024]]
    cells = np.argmin((centres**2).sum(1) - 2 * real @ centres.T, axis=1)
    spread = np.zeros_like(real)
    for cell in range(len(centres)):
        members = np.flatnonzero(cells == cell)
        if len(members) < 3:
            continue
        rows = real[members]
        keys = (rows**2).sum(1) - 2 * rows @ rows.T
        nearest = np.argsort(keys, axis=1, kind="stable")[:, : min(17, len(members))]
        spread[members] = rows[nearest].std(1) / 2
    made = np.empty((count, source.shape[1]), "u1")
    made[: len(source)] = source
    for start in range(len(source), count, 100_000):
        end = min(count, start + 100_000)
        origin = random.integers(0, len(real), end - start)
        rows = real[origin] + spread[origin] * random.standard_normal((end - start, real.shape[1]), "f4")
        made[start:end] = np.clip(np.rint(rows), 0, 255)
    write_vecs(path, made)
