"""A progress bar for terminals and notebooks."""

from __future__ import annotations

import sys
from html import escape
from importlib import import_module
from typing import Any, Protocol

WIDTH = 30


class Bar(Protocol):
    def show(self, done: float, words: str) -> None: ...
    def close(self) -> None: ...


def line(done: float, words: str) -> str:
    full = int(WIDTH * done)
    return f"{100 * done:3.0f} % |{'#' * full}{' ' * (WIDTH - full)}| {words}".rstrip()


class Terminal:
    """A line on stderr that is written anew."""

    def __init__(self) -> None:
        self.length = 0

    def show(self, done: float, words: str) -> None:
        text = line(done, words)
        sys.stderr.write("\r" + text.ljust(self.length))
        sys.stderr.flush()
        self.length = len(text)

    def close(self) -> None:
        if self.length:
            sys.stderr.write("\r" + " " * self.length + "\r")
            sys.stderr.flush()
            self.length = 0


class Notebook:
    """A display that is updated."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, done: float, words: str) -> None:
        display = import_module("IPython.display")
        text = display.HTML(f'<progress value="{done:.4f}" max="1"></progress> {100 * done:.0f} % {escape(words)}')
        if self.handle is None:
            self.handle = display.display(text, display_id=True)
        elif self.handle is not None:
            self.handle.update(text)

    def close(self) -> None:
        if self.handle is not None:
            self.handle.update(import_module("IPython.display").HTML(""))
            self.handle = None


def in_notebook() -> bool:
    """Whether the code runs in a kernel with displays."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def bar(progress: bool | None) -> Bar | None:
    """The bar for this place; None where nobody would see it."""
    if in_notebook():
        return Notebook()
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return Terminal() if progress or (progress is None and terminal) else None
