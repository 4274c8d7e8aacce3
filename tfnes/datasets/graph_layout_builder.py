"""The graph-layout data as a TensorFlow dataset (`tensorflow_datasets`).

Import this module only where `tensorflow_datasets` is wanted; `GraphLayout` gives the
same examples without it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from tfnes.datasets.graph_layout import GraphLayout

_DESCRIPTION = """\
Trajectories of points that a force-directed layout of a hidden random spanning tree
moves, after Paulus et al. (2020). Nothing is downloaded: the examples are generated.
"""

_CITATION = """\
@inproceedings{paulus2020gradient,
  title={Gradient Estimation with Stochastic Softmax Tricks},
  author={Paulus, Max B. and Choi, Dami and Tarlow, Daniel and Krause, Andreas and
          Maddison, Chris J.},
  booktitle={Advances in Neural Information Processing Systems},
  year={2020}
}
"""


@dataclasses.dataclass
class GraphLayoutConfig(tfds.core.BuilderConfig):
    """Size and seed; see `GraphLayout`."""

    num_vertices: int = 10
    num_timesteps: int = 10
    num_train: int = 50_000
    num_validation: int = 10_000
    num_test: int = 10_000
    seed: int = 0


class GraphLayoutBuilder(tfds.core.GeneratorBasedBuilder):
    """Features `positions` `[T, n, 2]` (scaled), `edges` `[E]` and `index` `[]`.

    Example:

        >>> import tempfile
        >>> from tfnes.datasets import graph_layout_builder as builders
        >>> config = builders.GraphLayoutConfig(
        ...     name="tiny", num_vertices=4, num_train=3, num_validation=1, num_test=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     builder = builders.GraphLayoutBuilder(config=config, data_dir=folder)
        ...     builder.info.features["positions"].shape
        (10, 4, 2)
    """

    name = "graph_layout"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 (a class attribute that the base class reads)
        GraphLayoutConfig(name="10t_10n", description="As Paulus et al. (2020).")
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        n = config.num_vertices
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            citation=_CITATION,
            features=tfds.features.FeaturesDict(
                {
                    "positions": tfds.features.Tensor(
                        shape=(config.num_timesteps, n, 2), dtype=np.float32
                    ),
                    "edges": tfds.features.Tensor(
                        shape=(n * (n - 1) // 2,), dtype=np.float32
                    ),
                    "index": tfds.features.Scalar(dtype=np.int32),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        config = self.builder_config
        data = GraphLayout(
            num_vertices=config.num_vertices,
            num_timesteps=config.num_timesteps,
            num_train=config.num_train,
            num_validation=config.num_validation,
            num_test=config.num_test,
            seed=config.seed,
        )
        return {split: self._generate_examples(data, split) for split in data.splits}

    def _generate_examples(self, data, split):
        arrays = data.arrays(split)
        positions = data.scale(arrays.positions)
        for index, (position, edges) in enumerate(
            zip(positions, arrays.edges, strict=True)
        ):
            yield (
                index,
                {
                    "positions": position,
                    "edges": edges.astype(np.float32),
                    "index": np.int32(index),
                },
            )
