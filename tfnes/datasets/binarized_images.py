"""Small gray images with every pixel 0 or 1, from `tensorflow_datasets`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfnes.checks import (
    check_choice,
    check_integer,
    check_optional,
    check_path,
    check_seed,
)
from tfnes.datasets.array_batches import make_array_dataset, permutation
from tfnes.datasets.provider import DatasetProvider
from tfnes.errors import ConfigurationError, MissingDataError
from tfnes.registration import register

OFFICIAL_SIZES = {
    "mnist": {"train": 60_000, "test": 10_000},
    "fashion_mnist": {"train": 60_000, "test": 10_000},
    "kmnist": {"train": 60_000, "test": 10_000},
    "omniglot": {"train": 19_280, "test": 13_180},
}
SIDE = 28
_VALIDATION_SHARE = 6


@register("dataset")
class BinarizedImages(DatasetProvider):
    """MNIST and its relatives, 28 x 28, with fixed binarization.

    A pixel is 1 where its brightness in [0, 1] rounds to 1 (0.5 rounds to 0). Omniglot
    is reduced to 28 x 28 before; its background is white, 1. `test` is the official
    test split; a sixth of the official training split, chosen by `seed`, is
    `validation`, the rest is `train`. A batch holds

    * `image` `[B, 784]` float32 in {0, 1}, row by row;
    * `label` `[B]` int32;
    * `index` `[B]` int32, the number of the image in its split.

    The prepared files of `tensorflow_datasets` are read; nothing is ever downloaded.
    Splits of a partial local copy are used as they are, and `describe` says so.

    Args:
      name: `"mnist"`, `"fashion_mnist"`, `"kmnist"` or `"omniglot"`.
      data_dir: the folder of `tensorflow_datasets`; None: the environment variable
        TFDS_DATA_DIR, else ~/tensorflow_datasets.
      num_train: at most this many images of the official training split (the first
        ones); None: all.
      seed: integer; chooses the validation images.

    Raises:
      ConfigurationError: if the name is unknown, or `num_train` leaves no validation
        image.
      MissingDataError: if the prepared files are not there; the message says how to
        get them.

    Example:

        >>> import tfnes
        >>> tfnes.datasets.BinarizedImages(name="mnist", data_dir="nowhere")
        Traceback (most recent call last):
            ...
        tfnes.errors.MissingDataError: There is no prepared mnist in nowhere. ...
    """

    splits = ("train", "validation", "test")

    def __init__(
        self,
        *,
        name: str = "mnist",
        data_dir: str | os.PathLike | None = None,
        num_train: int | None = None,
        seed: int = 0,
    ):
        self.name = check_choice("BinarizedImages.name", name, OFFICIAL_SIZES)
        self.data_dir = check_optional("BinarizedImages.data_dir", data_dir, check_path)
        self.num_train = check_optional(
            "BinarizedImages.num_train",
            num_train,
            check_integer,
            minimum=_VALIDATION_SHARE,  # one of these is for validation
        )
        self.seed = check_seed("BinarizedImages.seed", seed)
        self._folder = _find_prepared(name, data_dir)
        self._builder = None
        self._local = {split: self._count(split) for split in OFFICIAL_SIZES[name]}
        self._used = min(self._local["train"], num_train or self._local["train"])
        if self._used < _VALIDATION_SHARE:
            raise ConfigurationError(
                f"BinarizedImages needs at least {_VALIDATION_SHARE} training images, "
                f"of which one is for validation. Received: {self._used}. Raise "
                "num_train."
            )
        self._images: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def get_dataset(
        self,
        split: str,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        skip: int = 0,
        drop_remainder: bool = False,
    ) -> tf.data.Dataset:
        images, labels = self.arrays(split)
        return make_array_dataset(
            {"image": images, "label": labels},
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            epoch=epoch,
            skip=skip,
            drop_remainder=drop_remainder,
            dtypes={"image": tf.float32},
        )

    def num_examples(self, split: str) -> int:
        self.check_split(split)
        validation = self._used // _VALIDATION_SHARE
        sizes = {
            "train": self._used - validation,
            "validation": validation,
            "test": self._local["test"],
        }
        return sizes[split]

    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns images `[N, 784]` uint8 in {0, 1} and labels `[N]` int32."""
        self.check_split(split)
        if split not in self._images:
            if split == "test":
                self._images["test"] = self._read("test")
            else:
                images, labels = self._read(f"train[:{self._used}]")
                order = permutation(self._used, seed=self.seed)
                cut = self.num_examples("validation")
                for part, rows in (
                    ("validation", np.sort(order[:cut])),
                    ("train", np.sort(order[cut:])),
                ):
                    self._images[part] = images[rows], labels[rows]
        return self._images[split]

    def describe(self) -> str:
        lines = [f"{super().describe()}", f"{self.name} from {self._folder}"]
        for split, official in OFFICIAL_SIZES[self.name].items():
            local = self._local[split]
            if local < official:
                lines.append(
                    f"partial copy: {local:,} of the {official:,} images of the "
                    f"official {split} split"
                )
        if self._used < self._local["train"]:
            lines.append(f"only the first {self._used:,} training images are used")
        return "\n".join(lines)

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "data_dir": None if self.data_dir is None else os.fspath(self.data_dir),
            "num_train": self.num_train,
            "seed": self.seed,
        }

    def _count(self, split: str) -> int:
        return self._tfds_builder().info.splits[split].num_examples

    def _tfds_builder(self):
        if self._builder is None:
            import tensorflow_datasets as tfds

            # Reads what lies there; a builder by name might look on the network.
            self._builder = tfds.builder_from_directory(os.fspath(self._folder))
        return self._builder

    def _read(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        data = self._tfds_builder().as_dataset(split=split, shuffle_files=False)
        data = data.map(_binarize, num_parallel_calls=2, deterministic=True)
        images, labels = zip(*data.batch(1000).as_numpy_iterator(), strict=True)
        return np.concatenate(images), np.concatenate(labels)


def _binarize(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    image = example["image"][..., :1]
    if image.shape[:2] != (SIDE, SIDE):
        image = tf.image.resize(
            tf.cast(image, tf.float32), [SIDE, SIDE], antialias=True
        )
        image = tf.round(image)
    brightness = tf.cast(image, tf.float32) / 255
    # tf.round rounds half to even.
    pixels = tf.cast(tf.round(brightness), tf.uint8)
    return tf.reshape(pixels, [SIDE * SIDE]), tf.cast(example["label"], tf.int32)


def _find_prepared(name: str, data_dir: str | os.PathLike | None) -> Path:
    """Returns the folder of the newest prepared version."""
    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    root = Path(data_dir).expanduser()
    versions = [
        folder.parent
        for folder in root.glob(f"{name}/*/dataset_info.json")
        if all(part.isdigit() for part in folder.parent.name.split("."))
    ]
    if not versions:
        raise MissingDataError(
            f"There is no prepared {name} in {root}. Set data_dir (or the environment "
            "variable TFDS_DATA_DIR) to the folder that holds "
            f"{name}/VERSION/dataset_info.json, or prepare it once, with a network: "
            f"python -c \"import tensorflow_datasets as tfds; tfds.load('{name}', "
            f"data_dir='{root}')\"."
        )
    return max(versions, key=lambda folder: [int(p) for p in folder.name.split(".")])
