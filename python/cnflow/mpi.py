"""Training by several processes of MPI, to the bits of one process.

    # mpirun -n 4 cnf train --data table.npy --steps 5000, or mpirun -n 4 python train.py:
    import cnflow, cnflow.mpi
    flow = cnflow.train(x, steps=5000, crew=cnflow.mpi.Crew())

``pip install mpi4py mpich`` brings ``mpirun``. A rank that is killed ends the job at once; ``resume=`` goes on from the
last checkpoint, on any number of ranks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mpi4py import MPI

__all__ = ["Crew"]


class Crew:
    """The ranks of a communicator of MPI; all of them by default.

    The communicator is duplicated, so that messages of a training meet no others.
    """

    def __init__(self, comm: Any = None) -> None:
        self._comm = (MPI.COMM_WORLD if comm is None else comm).Dup()
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()

    def allgather(self, mine: bytes) -> list[bytes]:
        """What each rank sent, in the order of ranks."""
        lengths = self._comm.allgather(len(mine))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        gathered = bytearray(int(starts[-1]))
        self._comm.Allgatherv([mine, MPI.BYTE], [gathered, lengths, starts[:-1].tolist(), MPI.BYTE])
        return [bytes(gathered[first:last]) for first, last in zip(starts[:-1], starts[1:], strict=True)]

    def abort(self, code: int = 1) -> None:
        """Ends all ranks at once."""
        self._comm.Abort(code)
