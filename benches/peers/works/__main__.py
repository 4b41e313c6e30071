"""Runs the works one after the other, each in its own process, and writes their tables and charts.

    python -m works [--out FOLDER] [--only A,G] [--short] [--rounds 7] [--draw]

Results are FOLDER/NAME.json. Tables and charts are of all that are there, so that one work can be measured again alone.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from . import report
from .timing import Budget, one_thread, start_libraries

WORKS = {
    "A": "a_samples", "B": "b_likelihood", "C": "c_wide", "D": "d_matching", "E": "e_inversion", "F": "f_cold",
    "G": "g_discrete", "scale": "scale", "precision": "precision",
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results", help="folder of results")
    parser.add_argument("--only", default="", help=f"some of {','.join(WORKS)}")
    parser.add_argument("--short", action="store_true", help="fewer rows and three rounds: whether it runs, not figures")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison (7)")
    parser.add_argument("--draw", action="store_true", help="measure nothing; tables and charts of what is there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = {name.lower(): name for name in WORKS}
    unknown = [name for name in args.only.split(",") if name and name.lower() not in names]
    if unknown:
        parser.error(f"unknown work {unknown[0]}: choose some of {','.join(WORKS)}")
    chosen = [names[name.lower()] for name in args.only.split(",") if name] or list(WORKS)
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    budget = Budget(args.rounds or (3 if args.short else 7), args.short)
    if args.child:
        measure(args.child, budget, args.out)
        return 0
    failed = []
    for name in [] if args.draw else chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        begin = time.perf_counter()
        command = [sys.executable, "-m", "works", "--child", name, "--out", str(args.out), "--rounds", str(budget.rounds)]
        if subprocess.run(command + ["--short"] * args.short, check=False).returncode:
            failed.append(name)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    report.write(args.out, list(WORKS), chosen)
    if failed:
        print(f"FAILED, and not in the tables or there from an earlier run: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def measure(name: str, budget: Budget, out: Path) -> None:
    one_thread()
    # A process inherits the peak memory of its parent, so the parent of a cold start has no library in it.
    if name != "F":
        start_libraries()
    work = import_module(f"works.{WORKS[name]}")
    # One precision a process: with 64 bits on, JAX promotes what is in f32.
    if getattr(work, "WIDE", False):
        import jax

        jax.config.update("jax_enable_x64", True)
    found = {
        "title": work.TITLE, "about": work.__doc__, "columns": work.COLUMNS, "short": budget.short, "rounds": budget.rounds,
        "lines": [asdict(line) for line in work.run(budget)],
    }  # fmt: skip
    (out / f"{name}.json").write_text(json.dumps(found, indent=1))


sys.exit(main())
