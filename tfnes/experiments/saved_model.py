"""The model that another run handed on, as a model to train further."""

from __future__ import annotations

import gin
import keras

from tfnes.experiments.saved_run import load_best_model
from tfnes.structures.structure import Structure


@gin.register(module="tfnes")
def saved_model(*, run: str, structure: Structure | None = None) -> keras.Model:
    """Returns the best model of a run, for `train.model = @saved_model()`.

    Args:
      run: the run directory.
      structure: replaces the model's own, for example to search other trees; None: it
        stays.

    Raises:
      RunDirectoryError: if there is no model yet, or the file is damaged.
    """
    model = load_best_model(run)
    if structure is not None:
        model.structure = structure
    return model
