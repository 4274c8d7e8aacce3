"""What a run leaves behind beside its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import keras
import tensorflow as tf

from tfnes import callbacks as tfnes_callbacks
from tfnes.datasets.conllu_io import write_conllu
from tfnes.experiments import configuration, evaluation
from tfnes.experiments.phase import Phase
from tfnes.experiments.run_directory import RunDirectory
from tfnes.files import write_atomically
from tfnes.structures import SpanningTree

# Examples of which histograms are made.
_LOOKED_AT = 64


class Recorder:
    """Writes history, best model, TensorBoard, predictions and results of one run.

    Args:
      directory: where to.
      model: a built model.
      dataset: its data.
      monitor_split: the split of whose sentences pictures are drawn.
      pictures: number of sentences or graphs to draw after each epoch; 0: no histograms
        either.
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
        self._scalars.write_hyperparameters(configuration.hyperparameters())
        self._predict: evaluation.TreePredictor | None = None
        self._trees: tfnes_callbacks.TreePictures | None = None
        if evaluation.predicts_trees(model, dataset):
            self._predict = evaluation.TreePredictor(model, batch_size=batch_size)
        self._looks: list[keras.callbacks.Callback] = []
        if pictures:
            self._look_at_each_epoch(pictures)

    def _look_at_each_epoch(self, pictures: int) -> None:
        """Makes what draws pictures and histograms."""
        split, dataset = self._monitor_split, self._dataset
        writer = self._scalars.validation_writer
        batch = next(iter(dataset.get_dataset(split, batch_size=_LOOKED_AT)))
        self._looks.append(
            tfnes_callbacks.Distributions(batch, writer=writer, name=split)
        )
        if self._predict is not None:
            rows = dataset.sentences(split)
            chosen = [row for row in rows if 6 <= len(row) <= 20] or rows
            self._trees = tfnes_callbacks.TreePictures(
                chosen[:pictures], predict=self._predict, writer=writer
            )
            self._looks.append(self._trees)
        elif isinstance(self._model.structure, SpanningTree) and "edges" in batch:
            few = next(iter(dataset.get_dataset(split, batch_size=pictures)))
            self._looks.append(tfnes_callbacks.GraphPictures(few, writer=writer))

    def callbacks(self, phase: Phase) -> list[keras.callbacks.Callback]:
        """Returns what writes TensorBoard's files in the epochs of `phase`."""
        self._scalars.prefix = f"{phase.name}/"
        return [self._scalars, *self._looks]

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes one row an epoch."""
        self._directory.write_history(rows)

    def write_best_model(self) -> None:
        """Writes the model as it is now."""
        write_atomically(self._directory.best_model, self._model.save)

    def example(self) -> str | None:
        """Returns a sentence with its predicted tree, as text, if there are any."""
        if self._trees is None or not self._trees.sentences:
            return None
        return f"A sentence of {self._monitor_split}:\n{self._trees.as_text()}"

    def write_scores(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Writes the metrics of the model that a phase hands on, by split."""
        self._scalars.write_scores(
            {
                f"handed_on/{split}/{name}": value
                for split, values in scores.items()
                for name, value in values.items()
            },
            step=int(tf.convert_to_tensor(self._model.step)),
        )

    def write_results(self, results: Mapping[str, Any], splits: Sequence[str]) -> None:
        """Writes the predictions on some splits, and last the results."""
        if self._predict is not None:
            for split in splits:
                sentences = self._dataset.sentences(split)
                sentences = sentences[: self._dataset.num_examples(split)]
                heads, relations = self._predict(sentences)
                path = self._directory.predictions / f"{split}.conllu"
                write_conllu(path, sentences, heads=heads, relations=relations)
        self._directory.write_json(self._directory.metrics, results)
