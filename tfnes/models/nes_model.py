"""NES for any loss of any Keras model, without a latent structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.checks import check_function, check_instance
from tfnes.errors import ConfigurationError
from tfnes.models.trainable import TrainableModel
from tfnes.typing import ELBOTerms, Seed, Tensor


class NESModel(TrainableModel):
    """Trains a Keras model on a black-box loss with `tfnes.estimators.NES`.

    The loss of each example may be anything that TensorFlow can evaluate: NES needs no
    gradient of it. A batch is whatever the data set yields, a dict or `(x, y)`.

    The network is saved by `model.network.save(...)`: a loss that is a closure cannot
    be restored from a file.

    Args:
      network: a Keras model; all its trainable variables are learned.
      loss: `loss(batch, seed) -> [B]`, minimised. `seed`, `[2]` int32, is the key for
        random numbers in it, the same for the whole population of an update.
      seed: every random number of a run is a function of it.
      **kwargs: of `keras.Model`.

    Example:

        >>> import keras, tensorflow as tf, tfnes
        >>> keras.utils.set_random_seed(0)
        >>> network = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
        >>> def wrong_sign(batch, seed):          # 0 or 1: no gradient anywhere
        ...     x, y = batch
        ...     return tf.cast(network(x)[:, 0] * y < 0, tf.float32)
        >>> model = tfnes.NESModel(network, loss=wrong_sign)
        >>> model.compile(
        ...     keras.optimizers.Adam(0.1), tfnes.estimators.NES(population_size=20))
        >>> x = tf.random.stateless_normal([64, 2], [0, 0])
        >>> history = model.fit(x, tf.sign(x[:, 0]), epochs=5, verbose=0)
        >>> history.history["loss"][-1] < 0.2
        True
    """

    loss_name = "loss"
    test_names = ("loss",)

    def __init__(
        self,
        network: keras.Model,
        *,
        loss: Callable[[Any, Seed], Tensor],
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.network = check_instance(
            "NESModel.network", network, keras.Layer, expected="a Keras model"
        )
        self._loss = check_function(
            "NESModel.loss", loss, expected="a function loss(batch, seed) -> [B]"
        )

    def shared_terms(self, batch: Any, *, seed: Seed) -> dict[str, Any]:
        """Returns the key that all members of a population give to the loss."""
        del batch
        return {"seed": random.fold_in(seed, int(random.Stream.LATENT_NOISE))}

    def elbo(
        self,
        batch: Any,
        *,
        seed: Seed | None = None,
        shared: dict[str, Any] | None = None,
        training: bool = False,
    ) -> ELBOTerms:
        """Returns the loss in the place of a negative log-likelihood, and no latent."""
        del training
        if shared is None:
            shared = self.shared_terms(batch, seed=seed)
        loss = tf.convert_to_tensor(self._loss(batch, shared["seed"]))
        if loss.shape.rank != 1:
            raise ConfigurationError(
                "NESModel.loss must return one number for each example, [B]. "
                f"Received: a tensor of shape {loss.shape}. Do not average over "
                "examples."
            )
        return ELBOTerms(-loss, tf.zeros_like(loss), loss, loss)

    def share_noise(self, batch, terms, *, shared):
        """Returns `shared`: what noise there is belongs to the loss."""
        del batch, terms
        return shared

    @property
    def elbo_variables(self) -> list[keras.Variable]:
        """The variables that are learned."""
        return self.network.trainable_variables

    def touched_rows(self, batch: Any) -> list[tuple[keras.Variable, Tensor]]:
        """Returns no tables: all rows are learned from every batch."""
        del batch
        return []

    def trace(self, batch):
        self.elbo(batch, seed=random.make_seed(0))

    def test_losses(self, batch, *, seed):
        return {"loss": self.elbo(batch, seed=seed).neg_elbo}

    def predict_batch(self, batch):
        inputs = keras.utils.unpack_x_y_sample_weight(batch)[0]
        return self.network(inputs, training=False)

    def call(self, batch, training=False):
        return self.network(batch, training=training)

    def build(self, batch):
        if not self.network.built:
            super().build(batch)

    def features(self, data):
        # Keras wraps what it was given as `(x,)` or `(x, None, None)`.
        if not isinstance(data, tuple):
            return data
        given = tuple(value for value in data if value is not None)
        return given[0] if len(given) == 1 else given

    def get_config(self):
        raise NotImplementedError(
            "A NESModel holds a Python function and cannot be saved as a whole. Save "
            "model.network, and build the NESModel again around the loaded network."
        )
