from collections.abc import Callable, Sequence
from os import PathLike
from types import ModuleType
from typing import Any, Literal, Protocol, TypeAlias, final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "__version__",
    "Flow",
    "Training",
    "Report",
    "Comparison",
    "Picture",
    "load",
    "_restored",
    "train",
    "compare",
    "set_num_threads",
    "get_num_threads",
    "command",
]

__version__: str

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

class _Crew(Protocol):
    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def allgather(self, mine: bytes, /) -> Sequence[bytes]: ...

_Rows: TypeAlias = ArrayLike | _ArrowStream
_Condition: TypeAlias = ArrayLike | _ArrowStream | dict[str, float] | dict[str, str] | dict[str, ArrayLike]
_Path: TypeAlias = str | PathLike[str]
_Seed: TypeAlias = int | np.random.Generator
_F64: TypeAlias = NDArray[np.float64]
_U8: TypeAlias = NDArray[np.uint8]
_Extent: TypeAlias = Sequence[tuple[float, float]]

@final
class Flow:
    @property
    def dim(self) -> int: ...
    @property
    def condition_dim(self) -> int: ...
    @property
    def columns(self) -> list[str] | None: ...
    @property
    def condition_columns(self) -> list[str] | None: ...
    @property
    def condition_classes(self) -> dict[str, list[str]]: ...
    @property
    def image_shape(self) -> tuple[int, ...] | None: ...
    @property
    def provenance(self) -> dict[str, Any]: ...
    @property
    def solver(self) -> dict[str, Any]: ...
    @property
    def precision(self) -> Literal["f32", "f64"]: ...
    @property
    def training(self) -> Training | None: ...
    def log_prob(
        self,
        x: _Rows,
        condition: _Condition | None = None,
        *,
        dequantise: int = 1,
        out: _F64 | None = None,
        progress: bool | None = None,
    ) -> _F64: ...
    def bits_per_dim(
        self, x: _Rows, condition: _Condition | None = None, *, progress: bool | None = None
    ) -> _F64: ...
    def sample(
        self,
        n: int | None = None,
        condition: _Condition | None = None,
        *,
        seed: _Seed | None = None,
        first: int = 0,
        as_frame: ModuleType | Literal["pandas", "polars", "pyarrow"] | None = None,
        progress: bool | None = None,
    ) -> Any: ...
    def sample_and_log_prob(
        self,
        n: int | None = None,
        condition: _Condition | None = None,
        *,
        seed: _Seed | None = None,
        first: int = 0,
        progress: bool | None = None,
    ) -> tuple[_F64, _F64]: ...
    def forward(
        self, z: _Rows, condition: _Condition | None = None, *, progress: bool | None = None
    ) -> Any: ...
    def inverse(
        self, x: _Rows, condition: _Condition | None = None, *, progress: bool | None = None
    ) -> _F64: ...
    @overload
    def log_prob_and_grad(
        self,
        x: _Rows,
        condition: _Condition | None = None,
        *,
        condition_grad: Literal[False] = False,
        progress: bool | None = None,
    ) -> tuple[_F64, _F64]: ...
    @overload
    def log_prob_and_grad(
        self,
        x: _Rows,
        condition: _Condition | None = None,
        *,
        condition_grad: Literal[True],
        progress: bool | None = None,
    ) -> tuple[_F64, _F64, _F64]: ...
    def error_bars(
        self, x: _Rows, condition: _Condition | None = None, *, progress: bool | None = None
    ) -> tuple[_F64, _F64]: ...
    def stages(
        self,
        times: ArrayLike,
        *,
        x: _Rows | None = None,
        z: _Rows | None = None,
        condition: _Condition | None = None,
    ) -> tuple[_F64, _F64]: ...
    def given(self, condition: _Condition) -> Flow: ...
    def with_solver(
        self,
        *,
        method: str | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        fixed_steps: int | None = None,
        max_step: float | None = None,
        trace: str | None = None,
        log_density: Literal["auto", "quadrature", "coupled", "exact"] | None = None,
        log_density_atol: float | None = None,
        probe_seed: int | None = None,
        precision: Literal["f32", "f64"] | None = None,
    ) -> Flow: ...
    def check(
        self,
        held_out: _Rows | None = None,
        condition: _Condition | None = None,
        *,
        n: int = 1000,
        seed: _Seed | None = None,
        progress: bool | None = None,
    ) -> Report: ...
    def density_grid(
        self, cells: int = 200, *, extent: _Extent | None = None
    ) -> tuple[list[_F64], _F64]: ...
    def plot_density(
        self,
        data: _Rows | None = None,
        *,
        cells: int = 200,
        extent: _Extent | None = None,
        log: int | None = None,
        title: str | None = None,
    ) -> Picture: ...
    def plot_samples(
        self,
        data: _Rows | None = None,
        *,
        n: int = 2000,
        seed: _Seed | None = None,
        condition: _Condition | None = None,
        title: str | None = None,
    ) -> Picture: ...
    def save(self, path: _Path) -> None: ...
    def to_bytes(self) -> bytes: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    def __copy__(self) -> Flow: ...
    def __deepcopy__(self, _memo: object) -> Flow: ...
    def _repr_html_(self) -> str: ...

@final
class Training:
    @property
    def losses(self) -> list[dict[str, Any]]: ...
    @property
    def validations(self) -> list[dict[str, Any]]: ...
    @property
    def stopped(self) -> bool: ...
    @property
    def notes(self) -> list[str]: ...
    def plot(self) -> Picture: ...
    def _repr_html_(self) -> str: ...

@final
class Report:
    @property
    def passed(self) -> bool: ...
    @property
    def lines(self) -> list[dict[str, Any]]: ...
    def _repr_html_(self) -> str: ...

@final
class Comparison:
    @property
    def rows(self) -> list[dict[str, Any]]: ...
    def _repr_html_(self) -> str: ...

@final
class Picture:
    @property
    def png(self) -> bytes: ...
    def array(self) -> _U8: ...
    def save(self, path: _Path) -> None: ...
    def _repr_png_(self) -> bytes: ...

def load(path: _Path | bytes) -> Flow: ...
def train(
    x: _Rows | _Path,
    condition: _Rows | str | Sequence[str] | None = None,
    *,
    valid: _Rows | None = None,
    valid_condition: _Rows | None = None,
    weights: _Rows | str | None = None,
    valid_weights: _Rows | None = None,
    model: str | None = None,
    steps: int | None = None,
    time: float | str | None = None,
    seed: _Seed | None = None,
    callback: Callable[[dict[str, Any]], bool | None] | None = None,
    progress: bool | None = None,
    resume: _Path | None = None,
    crew: _Crew | None = None,
    missing: Literal["drop", "refuse", "marginal"] = "drop",
    **options: Any,
) -> Flow: ...
def compare(
    flows: dict[str, Flow],
    data: _Rows,
    condition: _Condition | None = None,
    *,
    seed: _Seed | None = None,
) -> Comparison: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def command(arguments: Sequence[str], crew: _Crew | None = None) -> int: ...
def _restored(bytes: bytes, precision: str, fixed: list[float] | None) -> Flow: ...
