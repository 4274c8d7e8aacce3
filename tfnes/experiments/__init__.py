"""What surrounds training: configurations, run directories, phases, tables.

* `command_line`: flags, exit codes, quiet start-up of the programs; no TensorFlow.
* `configuration`: gin files and bindings, strictly checked.
* `unused_bindings`: a warning of gin bindings that had no effect.
* `catalog`: what is registered, one line each, for `--list`.
* `distribution`: distribution strategies by name.
* `rendezvous`: waits for the other workers of a run, before TensorFlow does.
* `run_directory`: the files of one run, written atomically.
* `phase`: one phase of training.
* `workers`: the processes that share one run, and what they tell each other.
* `recorder`: what a run leaves behind beside its checkpoints.
* `checkpoints`: the state of a run, saved and restored to the bit.
* `run_state`: where a run stands, and what all its workers agree on.
* `training`: `train`, the one function that gin configures.
* `experiment`: runs the phases of one run from where it stands.
* `environment`: versions, machine and data of a run.
* `saved_run`: model and data of a run, to be used again.
* `saved_model`: the model of a run, to be trained further.
* `evaluation`: metrics of a model, and of simple baselines, on the splits of a dataset.
* `results`: the result table.
* `smoke`: a provider cut down to a few examples.
* `reproduce`: the tables and figures of the paper.
* `interruption`: stops at the end of an update when a signal asks for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfnes.experiments.evaluation import TreePredictor
    from tfnes.experiments.experiment import Experiment
    from tfnes.experiments.phase import Phase
    from tfnes.experiments.results import RunResult
    from tfnes.experiments.run_directory import RunDirectory
    from tfnes.experiments.workers import Workers

_NAMES = {
    "Experiment": "experiment",
    "Phase": "phase",
    "RunDirectory": "run_directory",
    "RunResult": "results",
    "TreePredictor": "evaluation",
    "Workers": "workers",
}

__all__ = [
    "Experiment",
    "Phase",
    "RunDirectory",
    "RunResult",
    "TreePredictor",
    "Workers",
]


def __getattr__(name: str) -> Any:
    # Lazy: the command line imports this package before it knows if it needs Keras.
    if name in _NAMES:
        module = importlib.import_module(f"tfnes.experiments.{_NAMES[name]}")
        return getattr(module, name)
    raise AttributeError(f"module 'tfnes.experiments' has no attribute {name!r}")
