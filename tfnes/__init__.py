"""tfnes: discrete structured variational auto-encoders, learned with NES.

Names are imported when they are first used, so `import tfnes` is cheap.

* `models`: what is computed; every model is a `keras.Model`.
* `structures`: which latents exist, and how to find the best one.
* `estimators`: how to learn.
* `solvers`: batched MAP solvers as pure functions.
* `datasets`, `metrics`, `callbacks`, `plotting`: what training needs around it.
* `export`: the update of a model for runtimes other than TensorFlow.
* `experiments`: run directories, phases, configurations, result tables.
* `train`, `evaluate`, `predict`: the programs, and `train.train` for Python.
* `reproduce`: the program that makes the tables and figures of the paper.
* `benchmark`: the program that runs benchmarks by name.
* `theory`: the convergence bounds of Lemma 1 and Theorem 1 as functions.
* `testing`: checks for structures, estimators and models of one's own.
* `random`, `errors`, `files`, `typing`, `registration`: foundations.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # What type checkers and editors cannot see in `__getattr__`.
    from tfnes import (
        benchmark,
        callbacks,
        datasets,
        errors,
        estimators,
        evaluate,
        experiments,
        export,
        files,
        metrics,
        models,
        plotting,
        predict,
        random,
        registration,
        reproduce,
        solvers,
        structures,
        testing,
        theory,
        train,
        typing,
    )
    from tfnes.export import export_step
    from tfnes.models import NESModel
    from tfnes.registration import register, registered

__version__ = "0.1.0"

__all__ = [
    "NESModel",
    "__version__",
    "benchmark",
    "callbacks",
    "datasets",
    "errors",
    "estimators",
    "evaluate",
    "experiments",
    "export",
    "export_step",
    "files",
    "metrics",
    "models",
    "plotting",
    "predict",
    "random",
    "register",
    "registered",
    "registration",
    "reproduce",
    "solvers",
    "structures",
    "testing",
    "theory",
    "train",
    "typing",
]

_NAMES = {
    "NESModel": "tfnes.models",
    "export_step": "tfnes.export",
    "register": "tfnes.registration",
    "registered": "tfnes.registration",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"tfnes.{name}")
    raise AttributeError(f"module 'tfnes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
