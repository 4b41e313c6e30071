"""Normalizing flows: train a density model of rows of numbers, sample it, and get the log-density of any row.

    import cnflow
    flow = cnflow.train(x, time=60)
    flow.sample(1000)
    flow.log_prob(x)
    flow.save("model.safetensors")
"""

from ._cnflow import (
    Comparison,
    Flow,
    Picture,
    Report,
    Training,
    __version__,
    compare,
    get_num_threads,
    load,
    set_num_threads,
    train,
)
from ._errors import (
    CnfError,
    CnfWarning,
    DataWarning,
    FailedRows,
    FileError,
    InvalidInput,
    MissingRows,
    SolveError,
    Stopped,
    TrainingInterrupted,
    UnknownOption,
)

__all__ = [
    "CnfError",
    "CnfWarning",
    "Comparison",
    "DataWarning",
    "FailedRows",
    "FileError",
    "Flow",
    "InvalidInput",
    "MissingRows",
    "Picture",
    "Report",
    "SolveError",
    "Stopped",
    "Training",
    "TrainingInterrupted",
    "UnknownOption",
    "__version__",
    "compare",
    "get_num_threads",
    "load",
    "set_num_threads",
    "train",
]
