"""The base class of everything that says how to learn."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from tfnes.typing import Batch, GradientEstimate, Seed

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE


class GradientEstimator(abc.ABC):
    """Estimates the gradient of the mean negative ELBO of a batch.

    An estimator is given to `StructuredVAE.compile`. It holds hyper-parameters, and
    after `build` its own state as Keras variables (a moving average, a learned
    baseline), which is saved with the model.
    """

    def build(self, model: StructuredVAE) -> None:
        """Checks that `model` has what is needed, and creates the estimator's state.

        Called once, from `compile`.

        Raises:
          UnsupportedStructureError: if the model's structure lacks an ability.
        """

    @abc.abstractmethod
    def estimate(
        self, model: StructuredVAE, batch: Batch, *, seed: Seed
    ) -> GradientEstimate:
        """Returns loss, gradients and metrics for one batch.

        Args:
          model: the model; its variables hold the current parameters.
          batch: named tensors, example axis first.
          seed: `[2]` int32 key of this update.
        """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, for Keras serialisation."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GradientEstimator:
        return cls(**config)
