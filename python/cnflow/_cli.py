"""The command `cnf` of the package: the same command line as the binary."""

from __future__ import annotations

import sys

from ._cnflow import command


def main() -> int:
    """Runs the command line; returns its exit code."""
    return command(["cnf", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
