"""The exceptions and warnings of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._cnflow import Flow


class CnfError(Exception):
    """Any error of the package. Its hint is also a note, so that every traceback shows it."""

    hint: str | None

    def __init__(self, message: str = "", hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.hint)


class InvalidInput(CnfError, ValueError):
    """An argument or data that are not valid."""


class UnknownOption(InvalidInput, TypeError):
    """A keyword that is not an option of `train`."""


class FileError(CnfError, OSError):
    """A file that cannot be read or written."""


class SolveError(CnfError, ArithmeticError):
    """A calculation without a result: no row arrived, or the solver refused."""


class Stopped(CnfError):
    """A calculation that another thread ended."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during `train`. It is no `CnfError`, so that `except Exception` does not catch it.

    `flow` is the model as it was, where a step had ended; else None. It is not scored.
    """

    flow: Flow | None = None


class CnfWarning(UserWarning):
    """Any warning of the package."""


class FailedRows(CnfWarning):
    """Rows without a result: they are NaN, and the others are not affected."""


class MissingRows(CnfWarning):
    """Rows with a missing cell: they are NaN, or left out, and the others are not affected."""


class DataWarning(CnfWarning):
    """What is unusual about the rows: for training, and parts of a whole that are scaled to their total."""
