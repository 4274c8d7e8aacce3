"""Moving points whose interaction is a hidden spanning tree (Paulus et al. 2020)."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfnes.checks import (
    check_entries,
    check_integer,
    check_optional,
    check_path,
    check_seed,
)
from tfnes.datasets.array_batches import make_array_dataset
from tfnes.datasets.provider import DatasetProvider
from tfnes.datasets.spring_layout import simulate_layouts
from tfnes.errors import DataError, MissingDataError
from tfnes.files import write_atomically
from tfnes.registration import register

_SPLITS = ("train", "validation", "test")
_NAMES_IN_FILE = {"train": "train", "validation": "valid", "test": "test"}
_SHARD = 1000
_SLOW = 1e9


class LayoutArrays(NamedTuple):
    """The examples of a split.

    Attributes:
      positions: `[N, T, n, 2]` float32, not scaled.
      edges: `[N, E]` uint8, the true tree; upper triangle, row-major.
    """

    positions: np.ndarray
    edges: np.ndarray


@register("dataset")
class GraphLayout(DatasetProvider):
    """Trajectories of n vertices that a force-directed layout of a random tree moves.

    Splits `train`, `validation`, `test`. A batch holds

    * `positions` `[B, T, n, 2]` float32, scaled to [-1, 1] by the smallest and the
      largest coordinate of the training split;
    * `edges` `[B, E]` float32, the true tree, upper triangle row-major;
    * `index` `[B]` int32.

    Examples are generated when a split is first used, each from (`seed`, split, index)
    alone: a larger split begins with the smaller one. With `cache_dir` they are kept
    there in files of 1,000 examples; a run that was stopped goes on with the first
    missing file.

    Args:
      num_vertices: n, at least 2.
      num_timesteps: T.
      num_train: examples of this split, and so on. The defaults are those of Paulus et
        al.
      num_validation: see above.
      num_test: see above.
      seed: integer.
      cache_dir: folder for generated examples; None: nothing is written.
      path: reads this `.npz` instead of generating: `positions_train`
        `[N, T, n, 2]` and `edges_train` (`[N, n, n]`, symmetric, or `[N, E]`), the same
        for `valid` and `test`. Sizes and seed have no meaning then.

    Raises:
      ConfigurationError: if there are fewer than 2 vertices, or no timestep or training
        example.
      MissingDataError: if `path` does not exist.
      DataError: if `path` lacks an array, or arrays do not fit together.

    Example:

        >>> import tfnes
        >>> data = tfnes.datasets.GraphLayout(num_vertices=5, num_train=20)
        >>> batch = next(iter(data.get_dataset("train", batch_size=4)))
        >>> {name: tuple(tensor.shape) for name, tensor in batch.items()}
        {'positions': (4, 10, 5, 2), 'edges': (4, 10), 'index': (4,)}
    """

    splits = _SPLITS

    def __init__(
        self,
        *,
        num_vertices: int = 10,
        num_timesteps: int = 10,
        num_train: int = 50_000,
        num_validation: int = 10_000,
        num_test: int = 10_000,
        seed: int = 0,
        cache_dir: str | os.PathLike | None = None,
        path: str | os.PathLike | None = None,
    ):
        self.num_vertices = check_integer(
            "GraphLayout.num_vertices", num_vertices, minimum=2
        )
        self.num_timesteps = check_integer(
            "GraphLayout.num_timesteps", num_timesteps, minimum=1
        )
        self.seed = check_seed("GraphLayout.seed", seed)
        self.cache_dir = check_optional("GraphLayout.cache_dir", cache_dir, check_path)
        self.path = check_optional("GraphLayout.path", path, check_path)
        self._sizes = {
            split: check_integer(f"GraphLayout.num_{split}", size, minimum=least)
            for split, size, least in (
                ("train", num_train, 1),  # it scales all splits
                ("validation", num_validation, 0),
                ("test", num_test, 0),
            )
        }
        self._arrays: dict[str, LayoutArrays] = {}
        if path is not None:
            self._arrays = _read_file(Path(path))
            self._sizes = {s: len(a.edges) for s, a in self._arrays.items()}
            shape = self._arrays["train"].positions.shape
            self.num_timesteps, self.num_vertices = shape[1], shape[2]

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
        arrays = self.arrays(split)
        return make_array_dataset(
            {
                "positions": self.scale(arrays.positions),
                "edges": arrays.edges.astype(np.float32),
            },
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            epoch=epoch,
            skip=skip,
            drop_remainder=drop_remainder,
        )

    def num_examples(self, split: str) -> int:
        self.check_split(split)
        return self._sizes[split]

    def arrays(self, split: str) -> LayoutArrays:
        """Returns the examples of a split, unscaled; row i has `index` i."""
        self.check_split(split)
        if split not in self._arrays:
            self._arrays[split] = self._prepare(split)
        return self._arrays[split]

    def scale(self, positions: np.ndarray) -> np.ndarray:
        """Returns positions mapped to [-1, 1] by the training split's extremes."""
        train = self.arrays("train").positions
        low, high = train.min(), train.max()
        return (positions - low) * (2 / (high - low)) - 1

    def describe(self) -> str:
        origin = (
            f"read from {os.fspath(self.path)}"
            if self.path is not None
            else f"generated, seed {self.seed}"
        )
        return (
            f"{super().describe()}\n{self.num_vertices} vertices, "
            f"{self.num_timesteps} timesteps, {origin}; coordinates scaled to [-1, 1] "
            "by the training split."
        )

    def get_config(self) -> dict:
        return {
            "num_vertices": self.num_vertices,
            "num_timesteps": self.num_timesteps,
            **{f"num_{split}": size for split, size in self._sizes.items()},
            "seed": self.seed,
            "cache_dir": None if self.cache_dir is None else os.fspath(self.cache_dir),
            "path": None if self.path is None else os.fspath(self.path),
        }

    def _prepare(self, split: str) -> LayoutArrays:
        size = self._sizes[split]
        work = 10.0 * size * self.num_timesteps * self.num_vertices**2
        bar = keras.utils.Progbar(size, unit_name="graph") if work > _SLOW else None
        parts = []
        for start in range(0, max(size, 1), _SHARD):
            stop = min(start + _SHARD, size)
            parts.append(self._shard(split, start, stop))
            if bar is not None:
                bar.update(stop)
        return LayoutArrays(*map(np.concatenate, zip(*parts, strict=True)))

    def _shard(self, split: str, start: int, stop: int) -> LayoutArrays:
        folder = None
        if self.cache_dir is not None:
            folder = Path(self.cache_dir).expanduser() / (
                f"graph_layout-1.0.0-{self.num_timesteps}t-{self.num_vertices}n"
                f"-seed{self.seed}"
            )
            file = folder / f"{split}-{start:08d}-{stop:08d}.npz"
            if file.exists():
                content = _load(file)
                return LayoutArrays(content["positions"], content["edges"])
        shard = LayoutArrays(
            *simulate_layouts(
                self.num_vertices,
                num_timesteps=self.num_timesteps,
                start=start,
                stop=stop,
                seed=self.seed,
                stream=_SPLITS.index(split),
            )
        )
        if folder is not None:
            write_atomically(file, lambda name: np.savez(name, **shard._asdict()))
        return shard


def _read_file(path: Path) -> dict[str, LayoutArrays]:
    if not path.is_file():
        raise MissingDataError(
            f"GraphLayout.path: there is no file {path}. Give the path of an .npz "
            "with positions_train, edges_train, positions_valid, ..., or leave `path` "
            "out to generate the data."
        )
    arrays = {}
    content = _load(path)
    for split, name in _NAMES_IN_FILE.items():
        try:
            positions = np.asarray(content[f"positions_{name}"], np.float32)
            edges = np.asarray(content[f"edges_{name}"])
        except KeyError as error:
            raise DataError(
                f"{path}: {error}. GraphLayout needs positions_* and edges_* for "
                f"train, valid and test; the file has {', '.join(content)}."
            ) from error
        num_vertices = positions.shape[2] if positions.ndim == 4 else 0
        if edges.ndim == 3 and edges.shape[1:] == (num_vertices, num_vertices):
            rows, columns = np.triu_indices(num_vertices, k=1)
            edges = edges[:, rows, columns]
        expected = (len(positions), num_vertices * (num_vertices - 1) // 2)
        if positions.shape[3:] != (2,) or edges.shape != expected or not edges.size:
            raise DataError(
                f"{path}: positions_{name} must be [N, T, n, 2] and edges_{name} "
                "[N, n, n] or [N, n (n - 1) / 2], with n of at least 2. Received: "
                f"{positions.shape} and {content[f'edges_{name}'].shape}."
            )
        check_entries(f"{path}: positions_{name}", np.isfinite(positions), "finite")
        check_entries(f"{path}: edges_{name}", (edges == 0) | (edges == 1), "0 or 1")
        arrays[split] = LayoutArrays(positions, edges.astype(np.uint8))
    return arrays


def _load(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz; pickled objects could run code: refused."""
    try:
        with np.load(path) as content:
            arrays = dict(content)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: an .npz of plain arrays was expected, and it cannot be read as "
            f"one: {error}. Write it by numpy.savez, or delete it if it is a cache."
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise DataError(
                f"{path}: {name} must hold numbers. Received: dtype {array.dtype}."
            )
    return arrays
