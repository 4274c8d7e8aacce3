"""What Table 2 computes: supervised starting points and adaptations.

Many short adaptations of one parser: to import, to read the treebanks and above all to
trace and to compile would take longer than most of them. So those of one row of the
table share a process, a model and its graphs.
"""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfnes import random
from tfnes.datasets.sentence import Sentence
from tfnes.experiments import catalog, configuration, evaluation
from tfnes.experiments.run_directory import RunDirectory
from tfnes.experiments.smoke import SmokeProvider
from tfnes.files import write_text
from tfnes.solvers import use_jit_compile

TEST = "target_test"
DEV = "source_dev"
MONITOR = "words_uas"
"""Decides between epochs and between learning rates, on source dev."""


def evaluate_starts(starts: Sequence[str], **settings: Any) -> dict[str, Any]:
    """Returns the scores of supervised runs whose model searches the row's trees.

    Args:
      starts: run directories, one for each seed.
      **settings: of `_Parser`.

    Returns:
      `starts`, for each run `scores` by split and `correct`, see `_Parser.evaluate`;
      and `counted`, the words of each sentence of the target test set that count.
    """
    parser = _Parser(starts[0], **settings)
    found = []
    for start in starts:
        parser.restart(start, rate=0.0)
        found.append(parser.evaluate())
    return {"starts": found, "counted": parser.counted}


def adapt(
    starts: Sequence[str],
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
    updates: int | None,
    output: str,
    **settings: Any,
) -> dict[str, Any]:
    """Adapts a parser at every learning rate, then all seeds at the best one.

    Every rate is tried with the first seed; the best is that with the highest UAS on
    source dev. An adaptation hands on the best of its epochs by the same measure, even
    where all are worse than its start, as the authors do. Each that is finished is
    kept, so that a process that was stopped goes on after it.

    Args:
      starts: run directories of the supervised phase, one for each seed.
      seeds: of the adaptations.
      rates: learning rates.
      updates: at most so many an epoch; None: all.
      output: folder for the finished adaptations.
      **settings: of `_Parser`.

    Returns:
      `rate`, the best; `tried`, UAS on source dev by rate; `adapted`, for each seed
      what `_Parser.adapt` returned.
    """
    parser = _Parser(starts[0], **settings)

    def adapted(rate: float, seed: int) -> dict[str, Any]:
        path = pathlib.Path(output, f"rate{rate:g}-seed{seed}.json")
        if not path.is_file():
            start = starts[list(seeds).index(seed)]
            result = parser.adapt(start, rate=rate, seed=seed, updates=updates)
            write_text(path, json.dumps(result))
        return json.loads(path.read_text(encoding="utf-8"))

    tried = {rate: adapted(rate, seeds[0])["scores"][DEV][MONITOR] for rate in rates}
    best = max(tried, key=tried.get)
    return {
        "rate": best,
        "tried": {f"{rate:g}": value for rate, value in tried.items()},
        "adapted": [adapted(best, seed) for seed in seeds],
    }


class _Parser:
    """A parser and its data, traced once for all the weights that it is given.

    Args:
      start: run directory of a supervised phase, for the sizes of the model.
      gin_files: configurations; the one phase of `train.phases` says how to adapt.
      bindings: `NAME=VALUE`.
      data_dir: where the treebanks are.
      smoke: whether everything is cut down to two batches of four.
      xla: whether the solvers of the updates are compiled, which takes half a minute.
    """

    def __init__(
        self,
        start: str,
        *,
        gin_files: Sequence[str],
        bindings: Sequence[str],
        data_dir: str | None,
        smoke: bool,
        xla: bool = False,
    ):
        catalog.register_all()
        bindings = [*bindings, f"saved_model.run = {start!r}"]
        if data_dir is not None:
            bindings.append(f"DATA_DIR = {data_dir!r}")
        configuration.parse(gin_files, bindings)
        make = configuration.make_train_argument
        self.data = make("dataset")
        (self.phase,) = make("phases")
        if smoke:
            self.data = SmokeProvider(self.data)
            self.phase.epochs = 1
        self.model = make("model")
        self.model.adapt(self.data)
        self.model.build(next(iter(self.data.get_dataset(DEV, batch_size=64))))
        self.phase.set_frozen(self.model, ("decoder",))
        optimizer = self.phase.optimizer
        self.model.compile(optimizer, self.phase.estimator, make("metrics"))
        optimizer.build(self.model.optimized_variables)
        state = [*optimizer.variables, *self.phase.estimator.variables]
        self._fresh = [(variable, variable.numpy()) for variable in state]
        self._predict = evaluation.TreePredictor(self.model)
        with use_jit_compile(xla):
            self._update = self._trace().get_concrete_function()
        self._sentences = self.data.sentences(TEST)[: self.data.num_examples(TEST)]

    def _trace(self):
        data = self.data.get_dataset(self.phase.split, batch_size=1)
        spec = {
            name: tf.TensorSpec([None] * spec.shape.rank, spec.dtype)
            for name, spec in data.element_spec.items()
        }
        return tf.function(
            lambda batch, seed: self.model.update_step(batch, seed=seed).loss,
            input_signature=[spec, tf.TensorSpec([2], tf.int32)],
            autograph=False,
        )

    @property
    def counted(self) -> list[int]:
        """Words of each sentence of the target test set, without punctuation."""
        return [len(_real_words(sentence)) for sentence in self._sentences]

    def restart(self, start: str, *, rate: float) -> None:
        """Takes the weights of a run, and an optimizer that has seen nothing yet."""
        self.model.load_weights(RunDirectory(start).best_model)
        for variable, value in self._fresh:
            variable.assign(value)
        self.phase.optimizer.learning_rate = rate

    def adapt(
        self, start: str, *, rate: float, seed: int, updates: int | None
    ) -> dict[str, Any]:
        """Adapts from a start; see `adapt` of this module.

        Returns:
          what `evaluate` returns for the best epoch, `epoch`, its number, `updates`,
          their number, and `seconds`, the processor time of all updates, which is less
          than that where there is more than one thread.
        """
        self.restart(start, rate=rate)
        key = random.make_seed(seed)
        best, weights, epoch_of_best = None, None, 0
        seconds, count = 0.0, 0
        for epoch in range(self.phase.epochs):
            batches = self.data.get_dataset(
                self.phase.split,
                seed=seed,
                epoch=epoch,
                **self.phase.dataset_arguments(),
            )
            for batch in batches.take(-1 if updates is None else updates):
                begin = time.process_time()
                self._update(batch, key)
                seconds += time.process_time() - begin
                count += 1
            self.model.estimator.check()
            score = self._scores(DEV)[MONITOR]
            if best is None or score > best:
                best, epoch_of_best = score, epoch + 1
                weights = self.model.get_weights()
        self.model.set_weights(weights)
        return {
            **self.evaluate(),
            "epoch": epoch_of_best,
            "updates": count,
            "seconds": round(seconds, 2),
        }

    def evaluate(self) -> dict[str, Any]:
        """Returns `scores` by split and metric, and what is right on target test.

        `correct` holds, for each sentence of the target test set, the number of words
        with the right head, punctuation left out.
        """
        scores = {split: self._scores(split) for split in (DEV, TEST)}
        heads, _ = self._predict(self._sentences)
        correct = [
            sum(row[word] == sentence.heads[word] for word in _real_words(sentence))
            for row, sentence in zip(heads, self._sentences, strict=True)
        ]
        return {"scores": scores, "correct": correct}

    def _scores(self, split: str) -> dict[str, float]:
        data = self.data.get_dataset(split, batch_size=64)
        return evaluation.evaluate_dataset(self.model, data)


def _real_words(sentence: Sentence) -> list[int]:
    return [i for i, tag in enumerate(sentence.upos) if tag != "PUNCT"]
