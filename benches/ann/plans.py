# SPDX-License-Identifier: Apache-2.0
"""Which indexes are compared, what they are built with, and the parameters that are tried in searches."""

import dataclasses
import itertools

EF = (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640)
NPROBE = (1, 2, 4, 8, 16, 32, 64, 128)
RERANK = (20, 40, 80, 160, 320, 640)


@dataclasses.dataclass
class Plan:
    """An index, how it is built, and the searches that are tried, each a dictionary of options."""

    name: str
    family: str
    ours: bool
    build: dict
    searches: list
    # What a search's options stand for, in tables.
    label: str = ""

    @property
    def code_name(self):
        return self.build["index"]


def _one(option, values):
    return [{option: value} for value in values]


def _grid(**options):
    return [dict(zip(options, values)) for values in itertools.product(*options.values())]


def power_of_two(number):
    """The power of two nearest to a number by ratio."""
    return 1 << max(0, round(number.bit_length() - 1 + (number / (1 << (number.bit_length() - 1)) > 1.41)))


def lists_for(rows):
    """Inverted lists: about four times the square root of the rows, with some 40 rows each to train on."""
    return max(1, min(power_of_two(int(4 * rows**0.5)), rows // 40))


def all_plans(rows, dim, settings):
    """All plans for a data set of this shape; `settings` are the M and efConstruction that all graphs get."""
    graph = {"m": settings.m, "efc": settings.efc}
    nlist = {"nlist": lists_for(rows)}
    # Equal code bytes for all product quantizers: four dimensions a byte.
    pq = nlist | {"pq_bytes": settings.pq_bytes or max(1, dim // 4)}
    flat_disk = {"r": 64, "efc": 100, "alpha": 1.2}
    nprobe = [n for n in NPROBE if n <= nlist["nlist"]]
    refined = _grid(nprobe=nprobe, rerank=RERANK)
    peers = [
        ("hnswlib", "hnsw", {"index": "hnswlib"} | graph, _one("ef", EF)),
        ("faiss HNSWFlat", "hnsw", {"index": "faiss-hnsw"} | graph, _one("ef", EF)),
        ("faiss HNSWSQ8", "hnsw-codes", {"index": "faiss-hnsw-sq8"} | graph, _one("ef", EF)),
        ("faiss HNSWSQ8+refine", "hnsw-codes", {"index": "faiss-hnsw-sq8-refine"} | graph, _grid(ef=EF, rerank=(20, 40))),
        ("usearch f32", "hnsw", {"index": "usearch-f32"} | graph, _one("ef", EF)),
        ("usearch bf16", "hnsw-codes", {"index": "usearch-bf16"} | graph, _one("ef", EF)),
        ("usearch i8", "hnsw-codes", {"index": "usearch-i8"} | graph, _one("ef", EF)),
        ("diskannpy memory", "vamana", {"index": "diskann"} | flat_disk, _one("ef", EF)),
        ("faiss IVFFlat", "ivf", {"index": "faiss-ivf"} | nlist, _one("nprobe", nprobe)),
        ("faiss IVFPQ+refine", "ivfpq", {"index": "faiss-ivfpq"} | pq, refined),
        ("faiss IVFPQFastScan+refine", "ivfpq", {"index": "faiss-ivfpq-fs"} | pq, refined),
        ("faiss LSH+refine", "lsh", {"index": "faiss-lsh", "bits": 2 * dim}, _one("rerank", (20, 50, 100, 200, 500, 1000))),
        ("faiss LSH 8d+refine", "lsh", {"index": "faiss-lsh", "bits": 8 * dim}, _one("rerank", (20, 50, 100, 200, 500, 1000))),
        ("faiss Flat", "exact", {"index": "faiss-flat"}, [{}]),
    ]
    ours = [
        ("VexFS hnsw", "hnsw", {"index": "hnsw"} | graph, _one("ef", EF)),
        ("VexFS hnsw sq8", "hnsw-codes", {"index": "hnsw", "codes": "sq8"} | graph, _one("ef", EF)),
        ("VexFS hnsw bf16", "hnsw-codes", {"index": "hnsw", "codes": "bf16"} | graph, _one("ef", EF)),
        ("VexFS hnsw binary", "hnsw-codes", {"index": "hnsw", "codes": "binary"} | graph, _one("ef", EF)),
        ("VexFS vamana", "vamana", {"index": "vamana", "m": 64, "efc": 100, "alpha": 1200}, _one("ef", EF)),
        ("VexFS ivf", "ivf", {"index": "ivf"} | nlist, _one("nprobe", nprobe)),
        ("VexFS ivf-pq 8 bit", "ivfpq", {"index": "ivf-pq", "pq_bits": 8} | pq, refined),
        ("VexFS ivf-pq 4 bit", "ivfpq", {"index": "ivf-pq", "pq_bits": 4} | pq, refined),
        ("VexFS lsh", "lsh", {"index": "lsh", "recall": 900}, _grid(nprobe=(0, 16, 64, 256), rerank=(0, 20, 50, 100, 200, 400))),
        ("VexFS exact", "exact", {"index": "flat"}, [{"exact": 1}]),
    ]
    plans = [Plan(name, family, False, build, searches) for name, family, build, searches in peers]
    plans += [Plan(name, family, True, build, searches) for name, family, build, searches in ours]
    return plans


def named(plan, words):
    """Whether one of these words, separated by commas, is the plan's family or in its name; "=word": all of its name."""
    name = plan.name.lower().replace(" ", "-")
    return any(word in (plan.family, f"={name}") or word in name for word in words.lower().split(",") if word)


def chosen(plans, wanted, quick):
    """The plans that INDEXES names, all if it is empty; a few points each if quick."""
    if wanted:
        plans = [p for p in plans if named(p, wanted)]
        if not plans:
            raise SystemExit(f"INDEXES={wanted} matches nothing")
    if quick:
        for plan in plans:
            if plan.family in ("hnsw", "hnsw-codes", "vamana"):
                plan.searches = plan.searches[::2]
            elif plan.family == "ivfpq":
                plan.searches = [s for s in plan.searches if s["rerank"] in (40, 160) and s["nprobe"] in (4, 16, 32, 64)]
    return plans


def text(options):
    """A search's options in a table."""
    return " ".join(f"{name}={value}" for name, value in options.items()) or "-"
