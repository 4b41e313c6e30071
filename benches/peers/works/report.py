"""Tables and charts of measured works."""

import importlib.metadata
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .timing import Line

PACKAGES = ["cnflow", "torch", "torchdiffeq", "torchcfm", "zuko", "nflows", "jax", "diffrax"]
#: The works whose results are curves.
CURVES = ["scale", "precision"]
#: Errors at which methods are compared.
ERRORS = [1e-3, 1e-4, 1e-5, 1e-6]


@dataclass(frozen=True)
class Result:
    """What was measured of a work."""

    title: str
    about: str
    columns: list[str]
    short: bool
    rounds: int
    lines: list[Line]

    def tasks(self) -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.task, []).append(line)
        return found


def read(folder: Path, names: list[str]) -> dict[str, Result]:
    found = {}
    for name in names:
        file = folder / f"{name}.json"
        if file.exists():
            held = json.loads(file.read_text())
            found[name] = Result(**held | {"lines": [Line(**line) for line in held["lines"]]})
    return found


def write(folder: Path, names: list[str], shown: list[str]) -> None:
    """Writes `tables.md` and the charts of all that was measured, and prints some of the tables."""
    from . import charts

    results = read(folder, names)
    sections = {name: section(name, result) for name, result in results.items()}
    begin = [versions(), "## Ours and the fastest peer\n\n" + fastest(results)]
    (folder / "tables.md").write_text("\n\n".join([*begin, *sections.values()]) + "\n")
    print("\n\n".join([*begin, *(text for name, text in sections.items() if name in shown)]))
    for path in charts.draw(folder, results):
        print(path)


def versions() -> str:
    installed = {found.metadata["Name"] for found in importlib.metadata.distributions()}
    here = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if name in installed]
    missing = [name for name in PACKAGES if name not in installed]
    return ", ".join(here) + "." + (f" **Not installed, so left out: {', '.join(missing)}.**" if missing else "")


def section(name: str, result: Result) -> str:
    about = "\n".join(line for line in result.about.strip().splitlines())
    short = "**Short run: fewer rows and rounds. These are no figures to quote.**\n\n" if result.short else ""
    table = {"scale": by_size, "precision": by_error}.get(name, plain)(result)
    return f"## {result.title}\n\n{about}\n\n{short}Medians of {result.rounds} rounds.\n\n{table}"


def table(head: list[str], rows: list[list[str]]) -> str:
    cut = ["---"] * len(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, cut, *rows])


def fastest(results: dict[str, Result]) -> str:
    """Our first line of each task beside the fastest peer."""
    rows = []
    for name, task, lines in tasks(results):
        peer = best(lines)
        rows.append([f"{name}: {task}", duration(lines[0].median), peer.who, duration(peer.median), ratio(peer, lines[0])])
    return table(["work", "cnflow", "fastest peer", "its CPU", "theirs / ours"], rows)


def tasks(results: dict[str, Result]) -> list[tuple[str, str, list[Line]]]:
    """Work, task and lines of what is not a curve."""
    plain = [(name, result) for name, result in results.items() if name not in CURVES]
    return [(name, task, lines) for name, result in plain for task, lines in result.tasks().items()]


def plain(result: Result) -> str:
    """A line each, with theirs divided by ours and its range over the rounds."""
    rows = []
    for task, lines in result.tasks().items():
        for at, line in enumerate(lines):
            facts = [value(line.facts.get(column, "")) for column in result.columns]
            rows.append([task if at == 0 else "", line.who, duration(line.median), ratio(line, lines[0]), *facts])
    return table(["task", "library", "CPU", "theirs / ours", *result.columns], rows)


def by_size(result: Result) -> str:
    """A line for each net; one that is on two curves was measured twice."""
    who = list(dict.fromkeys(line.who for line in result.lines))
    rows = []
    for at in range(0, len(result.lines), len(who)):
        own, *others = lines = result.lines[at : at + len(who)]
        rows.append([own.task, *(duration(line.median) for line in lines), *(ratio(line, own) for line in others)])
    return table(["evaluation", *who, *(f"{name} / {who[0]}" for name in who[1:])], rows)


def by_error(result: Result) -> str:
    """CPU seconds at some errors, between the tolerances that were run."""
    rows = []
    for net, methods in curves(result, result.columns[0]).items():
        for who, points in methods.items():
            rows.append([net, who, *(duration(at) if (at := cost_at(points, error)) else "" for error in ERRORS)])
    return table(["net", "method", *(f"CPU at a mean error of log p of {error:.0e}" for error in ERRORS)], rows)


def curves(result: Result, column: str) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """For each net and method its points (error, CPU seconds), from the loosest tolerance on."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in result.lines:
        point = (float(line.facts[column]), line.median)
        found.setdefault(str(line.facts["net"]), {}).setdefault(line.who, []).append(point)
    return found


def cost_at(points: list[tuple[float, float]], error: float) -> float | None:
    """CPU seconds at an error, on the straight line between two points of the logarithms."""
    for (above, cheap), (below, dear) in zip(points, points[1:]):
        if above >= error >= below and above > below:
            share = math.log(above / error) / math.log(above / below)
            return cheap * (dear / cheap) ** share
    return None


def ratio(line: Line, own: Line) -> str:
    if line is own:
        return "1"
    if not line.seconds:
        return ""
    each = [theirs / ours for theirs, ours in zip(line.seconds, own.seconds)]
    return f"{number(line.median / own.median)} ({number(min(each))} to {number(max(each))})"


def number(x: float) -> str:
    return f"{x:.2g}" if x < 100 else f"{x:.0f}"


def duration(seconds: float) -> str:
    if seconds == math.inf:
        return "not reached"
    for unit, size in [("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)]:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def value(fact: Any) -> str:
    if isinstance(fact, str):
        return fact
    return f"{fact:.1e}" if abs(fact) < 0.01 else f"{fact:.3g}"


def best(lines: list[Line]) -> Line:
    """The fastest peer."""
    return min((line for line in lines if not line.who.startswith("cnf")), key=lambda line: line.median)
