"""A model and data so small that a run of them takes seconds."""

import itertools
import os
import resource
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
    """Does to this process what TOY_STOP says, `WHAT@UPDATE`, at that update.

    WHAT is the name of a signal; `FULL`: from now on no file may be longer than a few
    bytes, as if the disk were full; or `GONE`: the run directory TOY_DIRECTORY is moved
    away.
    """

    def on_train_batch_end(self, batch, logs=None):
        what, _, update = os.environ.get("TOY_STOP", "").partition("@")
        if not what or int(tf.convert_to_tensor(self.model.step)) != int(update):
            return
        if what == "FULL":
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        elif what == "GONE":
            directory = os.environ["TOY_DIRECTORY"]
            os.rename(directory, f"{directory}-moved")
        else:
            os.kill(os.getpid(), getattr(signal, what))


def _kill_before_write(number):
    """Makes this process kill itself before it gives its `number`-th file its name."""
    count = itertools.count(1)

    def before(function):
        def wrapped(*arguments, **keywords):
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return wrapped

    os.replace = before(os.replace)
    # An index file makes a checkpoint; here its data is there, and the index is not.
    write = tf.train.Checkpoint.write

    def write_without_index(checkpoint, path, *arguments, **keywords):
        write(checkpoint, path, *arguments, **keywords)
        os.rename(f"{path}.index", f"{path}.part")
        os.replace(f"{path}.part", f"{path}.index")

    tf.train.Checkpoint.write = write_without_index


if version := os.environ.get("TOY_VERSION"):
    tfnes.__version__ = version
if number := int(os.environ.get("TOY_KILL_BEFORE_WRITE", 0)):
    _kill_before_write(number)
