"""A model and data so small that a run of them takes seconds."""

import os
import signal

import gin
import keras
import numpy as np
import tensorflow as tf

import tfnes
from tfnes.datasets.batching import permutation


@tfnes.register("dataset", package="toy")
class ToyData(tfnes.datasets.DatasetProvider):
    """Points around three centers."""

    splits = ("train", "validation", "test")

    def __init__(self, *, size=40, data_dir=None):
        self.size = size
        self.data_dir = data_dir
        rng = np.random.default_rng(0)
        centers = 2 * np.eye(3, 4)
        self._points = {
            split: (
                centers[rng.integers(3, size=size)] + 0.1 * rng.normal(size=(size, 4))
            ).astype(np.float32)
            for split in self.splits
        }

    def get_config(self):
        return {"size": self.size, "data_dir": self.data_dir}

    def num_examples(self, split):
        return self.size

    def get_dataset(
        self,
        split,
        *,
        batch_size,
        shuffle=False,
        seed=0,
        epoch=0,
        skip=0,
        drop_remainder=False,
    ):
        order = np.arange(self.size)
        if shuffle:
            order = permutation(self.size, seed=seed, epoch=epoch, stream=0)
        batch = {"x": self._points[split][order], "index": order.astype(np.int32)}
        data = tf.data.Dataset.from_tensor_slices(batch)
        return data.batch(batch_size, drop_remainder=drop_remainder).skip(skip)


@tfnes.register("model", package="toy")
class ToyModel(tfnes.models.StructuredVAE):
    """log p(x | z) = -|x - W z|^2, with z one of three."""

    def __init__(self, structure=None, **kwargs):
        super().__init__(structure or tfnes.structures.Categorical(), **kwargs)
        self.encoder = keras.layers.Dense(3, name="encoder")
        self.decoder = keras.layers.Dense(4, use_bias=False, name="decoder")

    def encode(self, batch, *, training=False):
        return self.encoder(batch["x"])

    def log_likelihood(self, batch, latent, *, training=False):
        return -tf.reduce_sum((batch["x"] - self.decoder(latent)) ** 2, axis=-1)


@gin.register(module="toy")
class StopAt(keras.callbacks.Callback):
    """Sends this process the signal that TOY_STOP names, at the update it names."""

    def on_train_batch_end(self, batch, logs=None):
        name, _, update = os.environ.get("TOY_STOP", "").partition("@")
        if name and int(tf.convert_to_tensor(self.model.step)) == int(update):
            os.kill(os.getpid(), getattr(signal, name))
