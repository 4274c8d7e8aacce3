"""The model and the data of a finished or unfinished run."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import gin
import keras

from tfnes.errors import RunDirectoryError
from tfnes.experiments import catalog, configuration
from tfnes.experiments.run_directory import RunDirectory


class SavedRun:
    """What is needed to use a run's best model.

    Args:
      path: the run directory.

    Raises:
      RunDirectoryError: if it is not one, or has no model yet.
    """

    def __init__(self, path: str | os.PathLike):
        self.directory = RunDirectory(path)
        config = self.directory.read_config()
        if config is None:
            raise RunDirectoryError(
                f"{self.directory.path} is not a run directory: it has no config.gin. "
                "Give the --output_dir of a training run (the end of its output says "
                "it)."
            )
        if not self.directory.best_model.is_file():
            raise RunDirectoryError(
                f"{self.directory.path} has no best.keras yet: no epoch was finished. "
                "Run the training command again."
            )
        catalog.register_all()
        # Imports what the configuration imports, too, so that the model can be loaded.
        folders = self.directory.read_environment().get("module_folders", [])
        configuration.add_module_folders([*folders, pathlib.Path.cwd()])
        configuration.parse_text(config, name=str(self.directory.config))

    def load_model(self) -> keras.Model:
        """Returns the best model, compiled with the run's metrics.

        Raises:
          RunDirectoryError: if the file is damaged.
        """
        return load_best_model(self.directory.path)

    def load_dataset(self, *, data_dir: str | os.PathLike | None = None) -> Any:
        """Returns the run's dataset.

        Args:
          data_dir: where the data is now, if not where it was.

        Raises:
          RunDirectoryError: if the run was not started from a configuration.
        """
        if data_dir is not None:
            with gin.unlock_config():
                gin.bind_parameter("DATA_DIR/gin.macro.value", str(data_dir))
        dataset = configuration.make_train_argument("dataset")
        if dataset is None:
            raise RunDirectoryError(
                f"{self.directory.path} was started from Python, so its data is not "
                "known here. Give the sentences as --input."
            )
        return dataset

    def resolve(self, name: str) -> Any:
        """Returns what the configuration gives `train` for `name`, or None."""
        return configuration.make_train_argument(name)

    @property
    def path(self) -> pathlib.Path:
        """The run directory."""
        return self.directory.path


def load_best_model(path: str | os.PathLike) -> keras.Model:
    """Returns the best model of a run directory; its classes must be registered.

    Raises:
      RunDirectoryError: if there is none, or the file is damaged.
    """
    file = RunDirectory(path).best_model
    if not file.is_file():
        raise RunDirectoryError(
            f"{file} does not exist: the run there has not finished an epoch, or "
            "there is none."
        )
    try:
        return keras.saving.load_model(file)
    except Exception as error:
        raise RunDirectoryError(
            f"{file} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
