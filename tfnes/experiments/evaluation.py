"""Metrics of a model, and of baselines that need none, on splits of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes.datasets.batching import make_dataset, plan_batches
from tfnes.datasets.sentence import Sentence
from tfnes.errors import ConfigurationError
from tfnes.solvers import use_jit_compile


def evaluate_dataset(model: keras.Model, dataset: tf.data.Dataset) -> dict[str, float]:
    """Returns the compiled model's metrics on the batches of `dataset`."""
    results = model.evaluate(dataset, verbose=0, return_dict=True)
    return {name: float(value) for name, value in results.items()}


def evaluate_baselines(
    baselines: Sequence[keras.metrics.Metric], dataset: tf.data.Dataset
) -> dict[str, float]:
    """Returns metrics that look at the batch alone, for example branching trees."""
    if not baselines:
        return {}
    for metric in baselines:
        metric.reset_state()
    for batch in dataset:
        for metric in baselines:
            metric.update_state(batch, {})
    return {metric.name: float(metric.result()) for metric in baselines}


def sentence_batches(
    model: keras.Model,
    sentences: Sequence[Sentence],
    *,
    batch_size: int = 64,
    labeled: bool = False,
) -> tf.data.Dataset:
    """Returns sentences as batches that a parser with a vocabulary reads.

    Args:
      model: with a `vocabulary`.
      sentences: any sentences, also without words.
      batch_size: sentences in a batch.
      labeled: whether the batches have the gold trees, for evaluation.

    Raises:
      ConfigurationError: if the model has no vocabulary.
    """
    vocabulary = getattr(model, "vocabulary", None)
    if vocabulary is None:
        raise ConfigurationError(
            f"{type(model).__name__} has no vocabulary, so it cannot read sentences."
        )
    encoded = vocabulary.encode(sentences)
    if not labeled:
        encoded = encoded.without_trees()
    return make_dataset(encoded, plan_batches(encoded.lengths, batch_size=batch_size))


class TreePredictor:
    """Predicts the trees of sentences, with the graph traced once.

    Args:
      model: a parser: with a `vocabulary`, and whose `predict_batch` returns `heads`
        and `relations`.
      batch_size: sentences in a batch.
    """

    def __init__(self, model: keras.Model, *, batch_size: int = 64):
        self.model = model
        self.batch_size = batch_size
        self._function: Any = None

    def __call__(
        self, sentences: Sequence[Sentence]
    ) -> tuple[list[list[int]], list[list[str]]]:
        """Returns heads and names of relations, one row for each sentence."""
        heads: list[list[int]] = [[] for _ in sentences]
        relations: list[list[str]] = [[] for _ in sentences]
        if not sentences:
            return heads, relations
        dataset = sentence_batches(self.model, sentences, batch_size=self.batch_size)
        names = self.model.vocabulary.relations
        for batch in dataset:
            outputs = self._predict(batch)
            rows = zip(
                batch["index"].numpy(),
                batch["lengths"].numpy(),
                outputs["heads"].numpy(),
                outputs["relations"].numpy(),
                strict=True,
            )
            for index, length, row_heads, row_relations in rows:
                if index < len(sentences):
                    heads[index] = row_heads[:length].tolist()
                    relations[index] = [names[r] for r in row_relations[:length]]
        return heads, relations

    def _predict(self, batch: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        if self._function is None:
            signature = {
                key: tf.TensorSpec([None] * value.shape.rank, value.dtype)
                for key, value in batch.items()
            }

            def predict(batch):
                # Few batches of many shapes: not worth XLA.
                with use_jit_compile(False):
                    outputs = self.model.predict_batch(batch)
                return {key: outputs[key] for key in ("heads", "relations")}

            self._function = tf.function(
                predict, input_signature=[signature], autograph=False
            )
        return self._function(dict(batch))


def predicts_trees(model: keras.Model, dataset: Any) -> bool:
    """Returns whether the model parses sentences and the dataset has them."""
    return getattr(model, "vocabulary", None) is not None and hasattr(
        dataset, "sentences"
    )
