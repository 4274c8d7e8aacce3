"""One phase of training: which estimator and optimizer, on what, for how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfnes.checks import (
    check_choice,
    check_flag,
    check_instance,
    check_integer,
    check_optional,
    check_sequence,
    check_text,
)
from tfnes.errors import ConfigurationError
from tfnes.registration import register

KEEP = ("best", "last")


@register("experiment")
class Phase:
    """One phase of training.

    After each epoch the run's `monitor` is evaluated. The phase hands on its best model
    (`keep="best"`) or its last. The model that a phase starts from is a candidate for
    the best one if it was trained before, unless `start_is_candidate` is False: then
    the best of the epochs is taken even if all are worse.

    Args:
      name: a word, shown in tables and used in file names.
      estimator: a `tfnes.estimators.GradientEstimator`.
      optimizer: any Keras optimizer.
      split: the split of the dataset to train on.
      epochs: passes through the split.
      batch_size: examples in an update.
      shuffle: whether each epoch has an order of its own, a function of seed and epoch.
      drop_remainder: whether a smaller last batch is left out.
      batching: how examples are grouped, as the dataset provider understands it; None:
        as it likes best.
      frozen: parts of the model that this phase does not train, for example
        `("decoder",)`: sets `model.decoder_trainable`, where there is such a switch,
        else `model.decoder.trainable`.
      keep: "best" or "last", see above.
      start_is_candidate: see above. False is what the authors' code does.
      patience: stop after this many epochs without a better model; None: never.
      linear_decay: whether the learning rate falls in a straight line over the phase,
        from the optimizer's to 0.

    Raises:
      ConfigurationError: if an argument is out of range.

    Example:

        >>> import keras, tfnes
        >>> phase = tfnes.experiments.Phase(
        ...     "adapt", estimator=None, optimizer=keras.optimizers.Adam(1e-3),
        ...     split="target_train", epochs=2, batch_size=128)
        >>> phase.keep
        'best'
    """

    def __init__(
        self,
        name: str,
        *,
        estimator,
        optimizer: keras.optimizers.Optimizer,
        split: str = "train",
        epochs: int = 10,
        batch_size: int = 32,
        shuffle: bool = True,
        drop_remainder: bool = False,
        batching: str | None = None,
        frozen: Sequence[str] = (),
        keep: str = "best",
        start_is_candidate: bool = True,
        patience: int | None = None,
        linear_decay: bool = False,
    ):
        if not check_text("Phase.name", name).isidentifier():
            raise ConfigurationError(
                "Phase.name must be a word of letters, digits and _. Received: "
                f"{name!r}."
            )
        self.name = name
        self.estimator = estimator
        self.optimizer = self._check(
            "optimizer",
            optimizer,
            check_instance,
            kind=keras.optimizers.Optimizer,
            expected="a Keras optimizer",
        )
        self.split = self._check("split", split, check_text)
        self.epochs = self._check("epochs", epochs, check_integer, minimum=1)
        self.batch_size = self._check(
            "batch_size", batch_size, check_integer, minimum=1
        )
        self.shuffle = self._check("shuffle", shuffle, check_flag)
        self.drop_remainder = self._check("drop_remainder", drop_remainder, check_flag)
        self.batching = self._check(
            "batching", batching, check_optional, check=check_text
        )
        self.frozen = check_sequence(f"Phase.frozen of {name!r}", frozen, check_text)
        self.keep = self._check("keep", keep, check_choice, choices=KEEP)
        self.start_is_candidate = self._check(
            "start_is_candidate", start_is_candidate, check_flag
        )
        self.patience = self._check(
            "patience", patience, check_optional, check=check_integer, minimum=1
        )
        self.linear_decay = self._check("linear_decay", linear_decay, check_flag)

    def _check(self, argument: str, value: Any, checked: Callable, **kwargs) -> Any:
        return checked(f"Phase.{argument} of {self.name!r}", value, **kwargs)

    def dataset_arguments(self) -> dict[str, Any]:
        """Returns what a provider's `get_dataset` is to be given for this phase."""
        arguments: dict[str, Any] = {
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_remainder": self.drop_remainder,
        }
        if self.batching is not None:
            arguments["batching"] = self.batching
        return arguments

    def set_schedule(self, num_updates: int) -> None:
        """Gives the optimizer this phase's schedule; to be called before `compile`.

        Args:
          num_updates: of the whole phase.
        """
        if self.linear_decay:
            self.optimizer.learning_rate = keras.optimizers.schedules.PolynomialDecay(
                float(self.optimizer.learning_rate),
                decay_steps=num_updates,
                end_learning_rate=0.0,
            )

    def set_frozen(self, model: keras.Model, parts: Sequence[str]) -> None:
        """Freezes this phase's `frozen` parts of the model, and frees the others.

        Args:
          model: the model.
          parts: all parts that any phase of the run freezes.
        """
        for part in parts:
            trainable = part not in self.frozen
            if hasattr(model, f"{part}_trainable"):
                setattr(model, f"{part}_trainable", trainable)
            elif hasattr(model, part):
                getattr(model, part).trainable = trainable
            else:
                raise ConfigurationError(
                    f"Phase.frozen of {self.name!r} names {part!r}, but "
                    f"{type(model).__name__} has no such part."
                )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, for Keras serialisation."""
        config = dict(vars(self))
        for key in ("estimator", "optimizer"):
            config[key] = keras.saving.serialize_keras_object(config[key])
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Phase:
        config = dict(config)
        for key in ("estimator", "optimizer"):
            config[key] = keras.saving.deserialize_keras_object(config[key])
        return cls(**config)


def check_phases(
    phases: Sequence[Phase], dataset: Any, *, monitor: str, evaluate: Sequence[str]
) -> tuple[str, str]:
    """Checks that phases have names and the dataset the splits; returns the monitor's.

    Args:
      phases: of one run.
      dataset: with `splits`.
      monitor: "split/metric".
      evaluate: splits.

    Returns:
      the monitor's split and metric.

    Raises:
      ConfigurationError: if a name is taken twice, or a split is not there.
    """
    names = [phase.name for phase in phases]
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(
            "train.phases must be one phase or more, each with a name of its own. "
            f"Received: {names}."
        )
    monitor_split, _, metric = monitor.partition("/")
    if not metric:
        raise ConfigurationError(
            "train.monitor must be split/metric, for example validation/neg_elbo. "
            f"Received: {monitor!r}."
        )
    wanted = {f"Phase.split of {phase.name!r}": phase.split for phase in phases}
    wanted |= {"train.monitor": monitor_split}
    wanted |= {f"train.evaluate ({split})": split for split in evaluate}
    for argument, split in wanted.items():
        if split not in dataset.splits:
            raise ConfigurationError(
                f"{argument} names the split {split!r}, but "
                f"the dataset has {', '.join(dataset.splits)}."
            )
    return monitor_split, metric
