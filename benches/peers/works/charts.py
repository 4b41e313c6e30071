"""The charts of the guide: work and precision, ratios, and cost against size.

Colours differ in lightness too, for colour-blind readers and for print in grey; markers carry the method. Lines have their
names at their ends.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image

from . import report
from .report import Result

COLOURS = {
    "cnflow": "#0072B2",
    "cnf": "#0072B2",
    "diffrax": "#D55E00",
    "jax": "#D55E00",
    "torchdiffeq": "#009E73",
    "torch": "#009E73",
}
COLOURS |= {"torchcfm": "#56B4E9", "zuko": "#9A6A00", "nflows": "#AA4499"}
MARKERS = {"dopri5": "o", "tsit5": "^", "bosh3": "s", "vern7": "D", "dop853": "*", "dopri8": "*"}
GREY = "#666666"
STYLE = {
    "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "lines.linewidth": 1.3, "lines.markersize": 3.5,
    "figure.dpi": 200, "savefig.dpi": 200, "font.family": "DejaVu Sans", "axes.grid": True, "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5, "axes.axisbelow": True,
}  # fmt: skip


def draw(folder: Path, results: dict[str, Result]) -> list[Path]:
    """The charts of what was measured."""
    drawn = []
    with plt.rc_context(STYLE):
        for name, needed, made in [
            ("precision", ["precision"], precision), ("ratios", ["A", "B", "D"], ratios), ("scale", ["scale"], scale),
            ("discrete", ["G"], discrete),
        ]:  # fmt: skip
            if all(work in results for work in needed):
                figure = made(results)
                path = folder / f"peers-{name}.png"
                figure.savefig(path)
                plt.close(figure)
                # A palette is enough for lines, and makes the file a third as large.
                Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(path, optimize=True)
                drawn.append(path)
    return drawn


def colour(who: str) -> str:
    return COLOURS.get(who.replace(",", " ").split()[0], GREY)


def seconds(x: float, _: Any = None) -> str:
    return report.duration(x) if x > 0 else ""


def end_labels(axes: Axes, ends: list[tuple[str, float, float]], names: Callable[[str], str]) -> None:
    """The names of lines in a column beside the axes, in the order of the lines' ends, joined to them by thin lines."""
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted(((*to_axes.transform((x, y)), who) for who, x, y in ends), key=lambda end: end[1])
    height = axes.get_window_extent().height / axes.figure.dpi * 72
    gap = 7.6 / height
    at = [y for _, y, _ in placed]
    # Neighbours that would touch move apart by the same amount until none does.
    for _ in range(500):
        for low, high in zip(range(len(at)), range(1, len(at))):
            if (short := gap - (at[high] - at[low])) > 1e-4:
                at[low], at[high] = at[low] - short / 2, at[high] + short / 2
    for (x, y, who), label in zip(placed, at):
        axes.annotate(
            names(who), (x, y), (1.03, label), "axes fraction", "axes fraction", fontsize=6.5, color=colour(who), va="center",
            arrowprops={"arrowstyle": "-", "color": colour(who), "lw": 0.35, "alpha": 0.6, "shrinkA": 1, "shrinkB": 2},
            annotation_clip=False,
        )  # fmt: skip


def names_in_colour(figure: Any, names: list[str], left: float, words: str = "") -> None:
    """The names of libraries in their colours, instead of a legend, `left` inches from the edge."""
    width, height = figure.get_size_inches()
    at = left / width
    for name in [*names, *([words] if words else [])]:
        text = figure.text(
            at, 1 - 0.06 / height, name, color=colour(name), fontsize=8.5, weight="normal" if name == words else "bold", va="top"
        )
        at = text.get_window_extent().x1 / figure.bbox.width + 0.14 / width


def margins(figure: Any, left: float, right: float, top: float, bottom: float, **between: float) -> None:
    """Sets them in inches."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(left=left / width, right=1 - right / width, top=1 - top / height, bottom=bottom / height, **between)


def ticks_of_time(axes: Axes) -> None:
    """At 1, 2 and 5 of each power of ten, or where that is many at 1 alone."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 150 else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(seconds))


def precision(results: dict[str, Result]) -> Any:
    """Error on the horizontal axis, from loose to tight, and CPU time upwards: the lower line is better."""
    result = results["precision"]
    columns = [("mean error of log p", "mean error of log p (nats)"), ("mean error of z", "mean error of the latents")]
    nets = list(report.curves(result, columns[0][0]))
    figure, grid = plt.subplots(2, len(nets), figsize=(3.1 * len(nets) + 0.4, 5.8), squeeze=False)
    margins(figure, 0.75, 0.6, 0.5, 0.42, wspace=0.52, hspace=0.36)
    names_in_colour(
        figure,
        ["cnflow", "diffrax", "torchdiffeq"],
        0.75,
        "a point for each tolerance; lower is faster, further right is more precise",
    )
    for row, (column, label) in enumerate(columns):
        for axes, (net, methods) in zip(grid[row], report.curves(result, column).items()):
            ends = []
            for who, points in methods.items():
                errors, cost = zip(*points)
                method = who.split(", ")[1]
                axes.loglog(errors, cost, color=colour(who), marker=MARKERS[method], zorder=3 if who.startswith("cnflow") else 2)
                ends.append((who, errors[-1], cost[-1]))
            axes.invert_xaxis()
            ticks_of_time(axes)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel(label)
            points = next(line.task for line in result.lines if line.facts["net"] == net).split(", ")[1].split(" at")[0]
            axes.set_title(f"{net}, {points}", loc="left")
            end_labels(axes, ends, lambda who: who.split(", ")[1])
        grid[row][0].set_ylabel("CPU time of log p, one thread")
    return figure


def ratios(results: dict[str, Result]) -> Any:
    """A line for each task: the fastest peer filled, the others open, the range over the rounds as a bar."""
    tasks = report.tasks(results)
    figure, axes = plt.subplots(figsize=(7.2, 0.75 + 0.19 * len(tasks)))
    margins(figure, 2.75, 1.05, 0.3, 0.42)
    peers = dict.fromkeys(line.who.replace(",", " ").split()[0] for _, _, lines in tasks for line in lines)
    names_in_colour(figure, [name for name in peers if name not in ("cnflow", "cnf")], 2.75)
    for at, (name, _, lines) in enumerate(tasks):
        own, best = lines[0], report.best(lines)
        for line in lines[1:]:
            if line.who.startswith("cnf") or not line.seconds:
                continue
            x, each = line.median / own.median, [a / b for a, b in zip(line.seconds, own.seconds)]
            first = line is best
            if first:
                axes.plot([min(each), max(each)], [at, at], color=colour(line.who), lw=3, alpha=0.3, solid_capstyle="butt")
            face = colour(line.who) if first else "white"
            axes.plot(x, at, "o", ms=5 if first else 3.5, mfc=face, mec=colour(line.who), mew=0.8, zorder=4 if first else 3)
        beside = {"fontsize": 7, "va": "center", "transform": axes.get_yaxis_transform(), "color": colour(best.who)}
        axes.text(1.08, at, report.number(best.median / own.median), ha="right", **beside)
        axes.text(1.095, at, best.who.replace(",", " ").split()[0], **beside)
        if at and name != tasks[at - 1][0]:
            axes.axhline(at - 0.5, color="#C8C8C8", lw=0.5)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_yticks(range(len(tasks)), [f"{task.replace('realnvp', 'RealNVP')}   {name}" for name, task, _ in tasks])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(tasks) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("CPU time of the peer divided by ours (right of 1: ours is faster)")
    return figure


def scale(results: dict[str, Result]) -> Any:
    """Cost of an evaluation against width and against the number of columns: above without, below with the exact trace."""
    figure, grid = plt.subplots(2, 3, figsize=(8.4, 4.8))
    margins(figure, 0.68, 0.55, 0.24, 0.42, wspace=0.52, hspace=0.42)
    axes_of = {"width": "2 columns", "columns, two hidden layers": "64-64", "columns, three hidden layers": "64-64-64"}
    for row, what in enumerate(["velocity", "velocity with exact trace"]):
        for axes, (axis, net) in zip(grid[row], axes_of.items()):
            lines = [line for line in results["scale"].lines if line.facts["axis"] == axis and line.facts["what"] == what]
            label = "width of two hidden layers" if axis == "width" else "columns d"
            curve(axes, lines, "size", f"{what.removeprefix('velocity ')}, {net}", label)
        grid[row][0].set_ylabel("CPU time of a row's evaluation")
    return figure


def discrete(results: dict[str, Result]) -> Any:
    """Cost of discrete flows against the number of columns."""
    lines = results["G"].lines
    whats = list(dict.fromkeys(str(line.facts["what"]) for line in lines))
    kinds = {"realnvp": "RealNVP", "spline": "spline"}
    figure, grid = plt.subplots(2, 3, figsize=(8.4, 4.8))
    margins(figure, 0.74, 0.55, 0.24, 0.42, wspace=0.52, hspace=0.42)
    for row, (kind, name) in enumerate(kinds.items()):
        for axes, what in zip(grid[row], whats):
            chosen = [line for line in lines if line.facts["kind"] == kind and line.facts["what"] == what]
            curve(axes, chosen, "d", f"{name}: {what}", "columns d")
        grid[row][0].set_ylabel("CPU time")
    return figure


def curve(axes: Axes, lines: list[Any], by: str, title: str, label: str) -> None:
    """CPU time against a size, a line for each library."""
    ends = []
    for who in dict.fromkeys(line.who for line in lines):
        points = sorted((float(line.facts[by]), line.median) for line in lines if line.who == who)
        axes.loglog(*zip(*points), color=colour(who), marker="o", zorder=3 if who == "cnflow" else 2)
        ends.append((who, *points[-1]))
    axes.set_title(title, loc="left")
    axes.set_xlabel(label)
    ticks = sorted({float(line.facts[by]) for line in lines})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    ticks_of_time(axes)
    end_labels(axes, ends, lambda who: who)
