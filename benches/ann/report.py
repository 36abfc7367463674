# SPDX-License-Identifier: Apache-2.0
"""Tables of what was measured, and the ratios that the project holds itself to."""

import math
import statistics

import plans
from curves import Point
from curves import frontier
from curves import speed_at

RECALLS = (0.90, 0.95, 0.99)


def title(top):
    versions = ", ".join(f"{name} {version}" for name, version in top["versions"].items())
    return (
        f"bench-ann, {top['date']}\n{top['machine']}\n{versions}\n"
        f"searches: one thread, {top['clock']} time, median of {top['repeats']} repeats in turns; recall@10; k=10"
    )


def plain(thing):
    """What JSON does not know by itself."""
    return float(thing) if hasattr(thing, "__float__") else str(thing)


def record(index, clock):
    """An index's results as JSON has them."""
    build = index.build
    points = [
        {
            "options": p.options,
            "recall": round(p.recall, 5),
            "qps": p.qps(clock),
            "cpu": p.cpu,
            "wall": p.wall,
            "facts": p.facts,
        }
        for p in index.points
    ]
    return {
        "name": index.plan.name,
        "family": index.plan.family,
        "ours": index.plan.ours,
        "build": index.plan.build,
        "built": build,
        "rows_per_second": build["rows_per_second"],
        "memory": index.memory,
        # Of VexFS it is what the segments hold of vectors and index; the others' files hold both as well.
        "index_bytes": build.get("index_bytes", 0) + build.get("vector_bytes", 0),
        "facts": {k: v for k, v in index.facts.items() if k not in ("bytes", "memory")},
        "points": points,
    }


def points_of(recorded):
    """The points of a recorded index."""
    return [Point(p["options"], p["recall"], p["cpu"], p["wall"], p["facts"]) for p in recorded["points"]]


def table(head, rows):
    """Prints a table; the first column is text, the others are numbers."""
    cells = [head] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        line = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  " + "  ".join(line).rstrip())


def mib(count):
    return "-" if count is None else f"{count / 2**20:,.1f}"


def busy(results):
    """How much longer by the wall clock than by CPU time searches took: 1 on a machine with nothing else to do."""
    pairs = [w / c for i in results.get("indexes", []) for p in i["points"] for c, w in zip(p["cpu"], p["wall"])]
    return statistics.median(pairs) if pairs else 1


def tables(results, clock):
    """Prints all tables of one data set."""
    indexes = results.get("indexes", [])
    if indexes:
        print("\nrecall@10 and QPS at fixed parameters")
        rows = []
        for index in indexes:
            for point in frontier(points_of(index), clock):
                facts = point.facts.get("distances")
                rows.append(
                    [index["name"], plans.text(point.options), f"{point.recall:.4f}", f"{point.qps(clock):,.0f}"]
                    + ["-" if facts is None else f"{facts:,.0f}"]
                )
        table(["index", "parameters", "recall", "QPS", "compared"], rows)

        print("\nQPS at a recall (log QPS interpolated; \"-\": not reached; \"≥\": the fastest point has more), build, memory")
        rows = []
        for index in sorted(indexes, key=lambda i: (i["family"], not i["ours"])):
            speeds = [speed_at(points_of(index), recall, clock) for recall in RECALLS]
            mark = "*" if index["built"].get("earlier") else ""
            rows.append(
                [index["name"]]
                + ["-" if speed is None else str(speed) for speed in speeds]
                + ["-" if index["family"] == "exact" else f"{index['rows_per_second']:,.0f}{mark}", mib(index["memory"]), mib(index["index_bytes"])]
            )
        table(["index", "0.90", "0.95", "0.99", "rows/s", "memory MiB", "file MiB"], rows)
        if any(index["built"].get("earlier") for index in indexes):
            print("  * built in an earlier run; FRESH=1 builds everything again")
        if busy(results) > 1.1:
            print(f"  the machine was busy: by the wall clock searches took {busy(results):.2f} times their CPU time")
    exact = results.get("exact")
    if exact:
        print(
            f"\nexact search of {exact['mib']} MiB: {exact['scan']:.1f} GB/s of {exact['read']:.1f} GB/s memory bandwidth "
            f"({exact['kernels']})"
        )
    insert = results.get("insert")
    if insert:
        print(
            f"\ndurable inserts into an image file: {statistics.median(insert['rows_per_second']):,.0f} rows/s "
            f"({insert['rows']:,} rows with payloads, batches of {insert['batch']:,}, synced at the end)"
        )
    if results.get("filter"):
        print("\nfiltered search, VexFS hnsw, QPS at recall 0.95; exact: the scan of all matching rows by itself")
        rows = [
            [
                f"{100 * f['selectivity']:g} %",
                plans.text(f["options"]),
                f"{f['recall']:.4f}",
                f"{f['qps']:,.0f}",
                f"{f['unfiltered_qps']:,.0f}",
                f"{f['exact_qps']:,.0f}",
                f["choice"],
                f["fewest"],
            ]
            for f in results["filter"]
        ]
        table(["matching", "parameters", "recall", "QPS", "unfiltered", "exact", "chosen", "fewest hits"], rows)


def _best(indexes, recall, clock="cpu"):
    """(QPS, name) of the fastest of some indexes at a recall."""
    speeds = [(s.qps, i["name"]) for i in indexes if (s := speed_at(points_of(i), recall, clock))]
    return max(speeds, default=(math.nan, "not reached"))


def _ratio(measure, bar, aim, ours, peer, unit="QPS"):
    return {
        "measure": measure,
        "bar": bar,
        "aim": aim,
        "ours": ours[0],
        "our index": ours[1],
        "peer": peer[0],
        "best peer": peer[1],
        "ratio": ours[0] / peer[0] if peer[0] else math.nan,
        "unit": unit,
    }


def ratios(all_results):
    """What the project asks of itself, over all data sets."""
    lines = []
    for results in all_results:
        for line in _ratios_of(results):
            lines.append({"dataset": results["name"]} | line)
    return lines


def _ratios_of(results):
    indexes = results.get("indexes", [])
    named = {index["name"]: index for index in indexes}
    peers = [i for i in indexes if not i["ours"]]

    def family(*names):
        return [i for i in indexes if i["family"] in names and i["ours"]]

    def these(*names):
        return [named[name] for name in names if name in named]

    graphs = these("hnswlib", "faiss HNSWFlat")
    if "VexFS hnsw" in named:
        for recall in (0.95, 0.99):
            yield _ratio(f"f32 HNSW at {recall}", 1.0, 1.3, _best(these("VexFS hnsw"), recall), _best(graphs, recall))
    if family("hnsw-codes"):
        for recall in (0.95, 0.99):
            yield _ratio(
                f"graph on codes at {recall}, best peer of any kind", 1.2, 1.5, _best(family("hnsw-codes"), recall), _best(peers, recall)
            )
    if "VexFS hnsw" in named and graphs:
        speed = [(i["rows_per_second"], i["name"]) for i in graphs]
        ours = (named["VexFS hnsw"]["rows_per_second"], "VexFS hnsw")
        yield _ratio("HNSW build", 1.0, 1.5, ours, max(speed), "rows/s")
    if family("ivfpq"):
        wanted = these("faiss IVFPQ+refine", "faiss IVFPQFastScan+refine")
        yield _ratio("IVF-PQ with re-rank at 0.95", 1.0, None, _best(family("ivfpq"), 0.95), _best(wanted, 0.95))
    if family("lsh"):
        wanted = [i for i in peers if i["family"] == "lsh"]
        yield _ratio("LSH at 0.9", 2.0, None, _best(family("lsh"), 0.9), _best(wanted, 0.9))
    if family("vamana"):
        wanted = these("diskannpy memory")
        yield _ratio("Vamana at 0.95", 0.8, None, _best(family("vamana"), 0.95), _best(wanted, 0.95))
    if results.get("exact"):
        exact = results["exact"]
        yield _ratio("exact search, memory bandwidth", 0.9, None, (exact["scan"], "VexFS exact"), (exact["read"], "reading"), "GB/s")
    if results.get("insert") and results["dim"] == 128:
        rate = statistics.median(results["insert"]["rows_per_second"])
        yield _ratio("durable inserts, bar 100,000 rows/s", 1.0, 2.6, (rate, "VexFS"), (100_000, "the bar"), "rows/s")
    if "VexFS hnsw" in named and "index_bytes" in named["VexFS hnsw"]["facts"]:
        facts = named["VexFS hnsw"]["facts"]
        bar = 0.1 if results["dim"] == 384 else None
        line = _ratio("HNSW bytes beyond vectors", bar, None, (facts["index_bytes"], "VexFS hnsw"), (facts["vector_bytes"], "vectors"), "bytes")
        yield line | {"at most": True}
    for f in results.get("filter") or []:
        name = f"filter {100 * f['selectivity']:g} %, recall {f['recall']:.3f}, {f['choice']}"
        line = _ratio(name, 0.5, None, (f["qps"], plans.text(f["options"])), (f["unfiltered_qps"], "unfiltered"))
        yield line | {"recall met": f["recall"] >= 0.95, "exact chosen": f["exact chosen"]}


def verdict(line):
    """Whether a ratio meets its bar."""
    if line["bar"] is None:
        return "-"
    if math.isnan(line["ratio"]):
        return "no figure"
    if line.get("at most"):
        return "met" if line["ratio"] <= line["bar"] else "MISSED"
    met = line["ratio"] >= line["bar"] or line.get("exact chosen", False)
    if not (met and line.get("recall met", True)):
        return "MISSED"
    return "aim met" if line["aim"] and line["ratio"] >= line["aim"] else "met"


def print_ratios(lines):
    """Prints the table of ratios."""
    if not lines:
        return
    print("\nratios")
    rows = []
    for line in lines:
        bar = "-" if line["bar"] is None else f"{'≤' if line.get('at most') else '≥'} {line['bar']:g}"
        bar += f", aim {line['aim']:g}" if line["aim"] else ""
        rows.append(
            [
                f"{line['dataset']}: {line['measure']}",
                f"{line['ours']:,.0f}" if line["ours"] >= 100 else f"{line['ours']:.1f}",
                line["our index"],
                f"{line['peer']:,.0f}" if line["peer"] >= 100 else f"{line['peer']:.1f}",
                line["best peer"],
                f"{line['ratio']:.2f}",
                bar,
                verdict(line),
            ]
        )
    table(["measure", "ours", "", "other", "", "ratio", "bar", ""], rows)
