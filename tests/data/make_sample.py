#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Choose the sample from the full data set: make_sample.py FOLDER writes debian384_* beside this script.

Rows: for each of 40 chosen queries its 20 nearest of the full set, then every n-th of the others until there
are 2,000; in the order of the full set, so that equal distances keep their order. Deterministic.
"""
import json
import math
import pathlib
import struct
import sys

DIM = 384
ROWS = 2000
NEAR = 20
TOP = 10
# The first three are those of the demo; texts whose matches a reader can judge come first.
QUERIES = [463, 409, 166, 47, 70, 329, 4, 167, 107, 141, 373, 380, 49, 58, 43, 34, 40, 60, 73, 8,
           432, 397, 499, 339, 319, 164, 298, 344, 323, 326, 252, 222, 218, 205, 200, 195, 190, 134, 100, 86]


def fvecs(path):
    data = path.read_bytes()
    size = 4 + 4 * DIM
    return [data[i:i + size] for i in range(0, len(data), size)]


def values(record):
    return struct.unpack_from(f"<{DIM}f", record, 4)


def main():
    source, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
    base = fvecs(source / "text384_base.fvecs")
    base_lines = (source / "text384_base.jsonl").read_text().splitlines()
    query = fvecs(source / "text384_query.fvecs")
    query_lines = (source / "text384_query.jsonl").read_text().splitlines()
    top = (source / "text384_cos_top100.ivecs").read_bytes()

    chosen = set()
    for q in QUERIES:
        chosen.update(struct.unpack_from(f"<{NEAR}i", top, q * 404 + 4))
    others = [i for i in range(len(base)) if i not in chosen]
    missing = ROWS - len(chosen)
    chosen.update(others[i * len(others) // missing] for i in range(missing))
    rows = sorted(chosen)
    assert len(rows) == ROWS

    (here / "debian384_base.fvecs").write_bytes(b"".join(base[i] for i in rows))
    (here / "debian384_base.jsonl").write_text("".join(base_lines[i] + "\n" for i in rows))
    (here / "debian384_query.fvecs").write_bytes(b"".join(query[q] for q in QUERIES))
    (here / "debian384_query.jsonl").write_text("".join(query_lines[q] + "\n" for q in QUERIES))

    vectors = [values(base[i]) for i in rows]
    norms = [math.sqrt(math.fsum(x * x for x in v)) for v in vectors]
    truth = bytearray()
    for q in QUERIES:
        v = values(query[q])
        norm = math.sqrt(math.fsum(x * x for x in v))
        near = sorted((1 - math.fsum(a * b for a, b in zip(v, r)) / (norm * n), i)
                      for i, (r, n) in enumerate(zip(vectors, norms)))[:TOP]
        truth += struct.pack(f"<{TOP + 1}i", TOP, *(i for _, i in near))
    (here / "debian384_cos_top10.ivecs").write_bytes(truth)


main()
