"""What a run leaves behind beside its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import keras

from tfnes import callbacks as tfnes_callbacks
from tfnes.datasets.conllu_io import write_conllu
from tfnes.experiments import evaluation
from tfnes.experiments.phase import Phase
from tfnes.experiments.run_directory import RunDirectory, write_atomically


class Recorder:
    """Writes history, best model, TensorBoard, predictions and results of one run.

    Args:
      directory: where to.
      model: a built model.
      dataset: its data.
      monitor_split: the split of whose sentences pictures are drawn.
      pictures: number of sentences to draw after each epoch.
      batch_size: examples in a batch of prediction.
    """

    def __init__(
        self,
        directory: RunDirectory,
        *,
        model: keras.Model,
        dataset: Any,
        monitor_split: str,
        pictures: int,
        batch_size: int,
    ):
        self._directory = directory
        self._model = model
        self._dataset = dataset
        self._monitor_split = monitor_split
        self._scalars = tfnes_callbacks.Scalars(directory.path)
        config = directory.read_config() or ""
        self._scalars.write_text("configuration", gin.markdown(config))
        if directory.operative_config.is_file():
            text = directory.operative_config.read_text(encoding="utf-8")
            self._scalars.write_text("operative_configuration", gin.markdown(text))
        self._pictures = self._predict = None
        if evaluation.predicts_trees(model, dataset):
            self._predict = evaluation.TreePredictor(model, batch_size=batch_size)
        if pictures and self._predict is not None:
            rows = dataset.sentences(monitor_split)
            chosen = [row for row in rows if 6 <= len(row) <= 20] or rows
            self._pictures = tfnes_callbacks.TreePictures(
                chosen[:pictures],
                predict=self._predict,
                writer=self._scalars.validation_writer,
            )

    def callbacks(self, phase: Phase) -> list[keras.callbacks.Callback]:
        """Returns what writes TensorBoard's files in the epochs of `phase`."""
        self._scalars.prefix = f"{phase.name}/"
        return [self._scalars, *([self._pictures] if self._pictures else [])]

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes one row an epoch."""
        self._directory.write_history(rows)

    def write_best_model(self) -> None:
        """Writes the model as it is now."""
        write_atomically(self._directory.best_model, self._model.save)

    def example(self) -> str | None:
        """Returns a sentence with its predicted tree, as text, if there are any."""
        if self._pictures is None or not self._pictures.sentences:
            return None
        return f"A sentence of {self._monitor_split}:\n{self._pictures.as_text()}"

    def write_results(self, results: Mapping[str, Any], splits: Sequence[str]) -> None:
        """Writes the predictions on some splits, and last the results."""
        for split in splits if self._predict is not None else ():
            sentences = self._dataset.sentences(split)
            sentences = sentences[: self._dataset.num_examples(split)]
            heads, relations = self._predict(sentences)
            path = self._directory.predictions / f"{split}.conllu"
            write_conllu(path, sentences, heads=heads, relations=relations)
        self._directory.write_json(self._directory.metrics, results)
