"""A data set of one's own: noisy pictures of paths through a grid."""

import numpy as np

import tfnes


@tfnes.register("dataset", package="examples")
class GridImages(tfnes.datasets.DatasetProvider):
    """Binary images `[n, n, C]` of random paths; a pixel is wrong with probability p.

    Args:
      size: n.
      channels: C, each with errors of its own.
      num_train: images to train on.
      num_test: images to test on.
      flip_probability: p.
      seed: of the images.
    """

    splits = ("train", "test")

    def __init__(
        self,
        *,
        size: int = 6,
        channels: int = 4,
        num_train: int = 512,
        num_test: int = 128,
        flip_probability: float = 0.1,
        seed: int = 0,
    ):
        self._config = {
            "size": size,
            "channels": channels,
            "num_train": num_train,
            "num_test": num_test,
            "flip_probability": flip_probability,
            "seed": seed,
        }
        rng = np.random.default_rng(seed)
        self._images, self._paths = {}, {}
        for split, number in zip(self.splits, (num_train, num_test), strict=True):
            paths = np.stack([_random_path(rng, size) for _ in range(number)])
            wrong = rng.random([*paths.shape, channels]) < flip_probability
            self._paths[split] = paths
            images = np.abs(paths[..., None] - wrong)
            self._images[split] = images.astype(np.float32)

    def get_dataset(self, split, **arguments):
        self.check_split(split)
        arrays = {"image": self._images[split], "gold_path": self._paths[split]}
        return tfnes.datasets.make_array_dataset(arrays, **arguments)

    def num_examples(self, split):
        return len(self._images[split])

    def get_config(self):
        return self._config


def _random_path(rng, size):
    steps = rng.permutation([0] * (size - 1) + [1] * (size - 1))
    path = np.zeros([size, size], np.float32)
    row = column = 0
    path[0, 0] = 1
    for down in steps:
        row, column = row + down, column + 1 - down
        path[row, column] = 1
    return path
