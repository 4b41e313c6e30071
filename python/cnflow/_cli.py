"""The command `cnf` of the package: the same command line as the binary."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ._cnflow import command

if TYPE_CHECKING:
    from .mpi import Crew

#: What launchers of MPI set to the number of processes.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")


def main() -> int:
    """Runs the command line; returns its exit code.

    Under ``mpirun`` the processes of ``cnf train`` train one model together.
    """
    crew = _crew()
    code = command(["cnf", *sys.argv[1:]], crew)
    if crew is not None and code:
        # The others would wait for this one.
        sys.stderr.flush()
        crew.abort(code)
    return code


def _crew() -> Crew | None:
    """The processes that `mpirun` started, where they are several."""
    sizes = [os.environ.get(name, "") for name in _SIZES]
    if not any(size.isdigit() and int(size) > 1 for size in sizes):
        return None
    try:
        from .mpi import Crew
    except ImportError as error:
        print(f"error: mpirun started several processes, and mpi4py is not there: {error}", file=sys.stderr)
        print("hint: pip install mpi4py mpich", file=sys.stderr)
        raise SystemExit(1) from None
    crew = Crew()
    return crew if crew.size > 1 else None


if __name__ == "__main__":
    sys.exit(main())
