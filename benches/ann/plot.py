# SPDX-License-Identifier: Apache-2.0
"""Figures: recall against speed, and growth, as SVG and PNG."""

import os

os.environ.setdefault("SOURCE_DATE_EPOCH", "0")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter
from matplotlib.ticker import LogLocator

import report
from curves import frontier

# VexFS is drawn in these, thick; the others in cooler ones, thin. Both sets keep apart in greyscale by markers and dashes.
OURS = ("#b5341b", "#d98a0b", "#7a1f5c", "#4d6b16")
PEERS = ("#24476b", "#3f8f9b", "#6d7a86", "#8aa5c9", "#2c6e49", "#9a8fb5")
OUR_MARKS, PEER_MARKS = "osD^", "vPX<>h"
PANELS = (
    ("Graphs on full vectors", ("hnsw", "vamana")),
    ("Graphs on codes", ("hnsw-codes",)),
    ("Inverted lists", ("ivf", "ivfpq")),
    ("Hashing and exact search", ("lsh", "exact")),
)
TICKS = (0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
CLIP = 0.9995

plt.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#dcdcdc",
        "grid.linewidth": 0.6,
        "svg.hashsalt": "vexfs",
        "svg.fonttype": "path",
    }
)


def _style(index, number):
    if index["ours"]:
        return {"color": OURS[number % 4], "marker": OUR_MARKS[number % 4], "linewidth": 2.2, "markersize": 5, "zorder": 3}
    return {
        "color": PEERS[number % 6],
        "marker": PEER_MARKS[number % 6],
        "linewidth": 1.2,
        "markersize": 4.5,
        "linestyle": "--",
        "zorder": 2,
    }


def _save(figure, folder, name):
    paths = []
    for kind in ("svg", "png"):
        paths.append(folder / f"{name}.{kind}")
        figure.savefig(paths[-1], dpi=120, metadata={"Date": None} if kind == "svg" else None)
    plt.close(figure)
    # Lines that end in blanks are no good in a repository.
    text = paths[0].read_text()
    paths[0].write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")
    return paths


def _speeds(axis):
    """A logarithmic axis with plain numbers."""
    axis.set_yscale("log")
    label = FuncFormatter(lambda y, _: f"{y:,.0f}")
    axis.yaxis.set_major_formatter(label)
    axis.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.yaxis.set_minor_formatter(label)


def _heading(figure, text, top):
    versions = ", ".join(f"{name} {version}" for name, version in top["versions"].items() if name != "numpy")
    height = figure.get_figheight()
    figure.text(0.01, 1 - 0.1 / height, text, fontsize=12, va="top")
    below = f"{top['machine']}\n{top['date']}; {versions}; one thread, median of {top['repeats']} repeats in turns"
    figure.text(0.01, 1 - 0.36 / height, below, fontsize=7.5, color="#444444", va="top")
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.72 / height))


def curves(results, top, folder):
    """Recall@10 against QPS: a panel a family of indexes."""
    panels = [(name, families) for name, families in PANELS if any(i["family"] in families for i in results["indexes"])]
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5.6 * columns + 0.6, 3.9 * lines + 1.1), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (name, families) in zip(axes.flat, panels):
        counts = {True: 0, False: 0}
        members = [i for i in results["indexes"] if i["family"] in families]
        for index in sorted(members, key=lambda i: i["ours"]):
            best = frontier(report.points_of(index), top["clock"])
            x = [-np.log10(1 - min(p.recall, CLIP)) for p in best]
            axis.plot(x, [p.qps(top["clock"]) for p in best], label=index["name"], **_style(index, counts[index["ours"]]))
            counts[index["ours"]] += 1
        _speeds(axis)
        axis.set_title(name, fontsize=10, loc="left")
        axis.set_xticks([-np.log10(1 - tick) for tick in TICKS], [f"{tick:g}" for tick in TICKS])
        axis.set_xlabel("recall@10")
        axis.set_ylabel("queries a second")
        axis.grid(True, which="both")
        axis.legend(fontsize=7.5, frameon=False, loc="best")
    _heading(figure, f"Recall against speed: {results['dataset']}", top)
    return _save(figure, folder, f"recall-{results['name']}")


def growth(sizes, top, folder, generated):
    """QPS, compared rows, build speed and memory against the number of rows. `sizes`: rows -> {index: figures}."""
    panels = (
        ("qps", "queries a second at recall 0.95"),
        ("cost", "microseconds a query at recall 0.95"),
        ("rows_per_second", "rows a second built"),
        ("memory", "bytes of memory a row"),
    )
    figure, axes = plt.subplots(2, 2, figsize=(11.8, 8.9))
    names = list(dict.fromkeys(name for figures in sizes.values() for name in figures))
    for axis, (what, label) in zip(axes.flat, panels):
        counts = {True: 0, False: 0}
        for name in names:
            ours = name.startswith("VexFS")
            found = [(rows, figures[name][what]) for rows, figures in sorted(sizes.items()) if figures.get(name, {}).get(what)]
            axis.plot(*zip(*found), label=name, **_style({"ours": ours}, counts[ours])) if found else None
            counts[ours] += 1
        axis.set_xscale("log")
        if what in ("qps", "rows_per_second"):
            _speeds(axis)
        else:
            axis.set_ylim(bottom=0)
        axis.set_xticks(sorted(sizes), [f"{rows:,}" for rows in sorted(sizes)])
        axis.minorticks_off()
        axis.set_xlabel("rows")
        axis.set_title(label, fontsize=10, loc="left")
        axis.legend(fontsize=8, frameon=False)
    _heading(figure, f"Growth: {generated}", top)
    return _save(figure, folder, "growth")
