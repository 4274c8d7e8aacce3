"""The rows of Table 2, and the sizes at which it is made."""

from __future__ import annotations

import dataclasses

SETUPS = {
    "GL_CTG": "ud_treegal_to_ctg",
    "GL_TREEGAL": "ud_ctg_to_treegal",
    "ID_CSUI": "ud_gsd_to_csui",
    "ID_GSD": "ud_csui_to_gsd",
    "RU_GSD": "ud_taiga_to_gsd",
    "RU_TAIGA": "ud_ru_gsd_to_taiga",
}
"""The data of each column of the paper's table, which is named by the target."""

PAPER = {
    ("dpp", True): (68.72, 71.39, 68.23, 71.71, 71.46, 69.94),
    ("nes", True): (68.92, 71.64, 68.28, 71.41, 71.82, 70.52),
    ("sparsemap", False): (68.57, 70.61, 68.23, 70.56, 70.99, 69.96),
    ("nes", False): (68.67, 70.98, 68.28, 70.47, 71.01, 69.96),
}
"""UAS by method and projectivity, in the order of `SETUPS`."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A row: how the second phase learns.

    Attributes:
      key: part of the name of its run.
      label: shown.
      config: its gin file.
      projective: whether the latent trees are.
      frozen: whether the decoder is.
      paper: key of `PAPER`, or None: the paper has no such row.
      extra: whether it is beside the paper's table, and left out where the scale says.
    """

    key: str
    label: str
    config: str
    projective: bool
    frozen: bool
    paper: str | None = None
    extra: bool = False


METHODS = (
    Method("fast", "fast NES, N = 8", "table2_fast_nes", True, True),
    Method("dpp", "DPP", "table2_dpp", True, False, "dpp"),
    Method("nes", "NES, N = 400", "table2_nes", True, True, "nes"),
    Method("fast", "fast NES, N = 8", "table2_fast_nes", False, True),
    Method("sparsemap", "SparseMAP", "table2_sparsemap", False, False, "sparsemap"),
    Method("nes", "NES, N = 400", "table2_nes", False, True, "nes"),
    # The same with the decoder treated alike; the authors freeze it for NES only.
    Method("fast", "fast NES, N = 8", "table2_fast_nes", True, False, extra=True),
    Method("dpp", "DPP", "table2_dpp", True, True, extra=True),
    Method("nes", "NES, N = 400", "table2_nes", True, False, extra=True),
    Method("fast", "fast NES, N = 8", "table2_fast_nes", False, False, extra=True),
    Method("sparsemap", "SparseMAP", "table2_sparsemap", False, True, extra=True),
    Method("nes", "NES, N = 400", "table2_nes", False, False, extra=True),
)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes at which the table is made.

    Attributes:
      seeds: of every setup.
      learning_rates: of the second phase, tried with the first seed.
      bindings: of all runs.
      pretrain_epochs: of the supervised phase.
      epochs: of the second phase.
      batch_size: of the second phase.
      updates: of an epoch of the second phase, at most; None: all.
      nes_epochs: instead of `epochs` for NES with N = 400.
      nes_updates: instead of `updates` for NES with N = 400.
      xla: whether the solvers of the second phase are compiled.
      brief: setups with the first seed only, and without the rows that are `extra`.
    """

    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    bindings: tuple[str, ...]
    pretrain_epochs: int
    epochs: int
    batch_size: int
    updates: int | None
    nes_epochs: int
    nes_updates: int | None
    xla: bool
    brief: tuple[str, ...] = ()


SCALES = {
    "paper": Scale(
        seeds=(0, 1, 2),
        learning_rates=(1e-5, 5e-5, 1e-4, 5e-4),
        bindings=(),
        pretrain_epochs=30,
        epochs=10,
        batch_size=128,
        updates=None,
        nes_epochs=10,
        nes_updates=None,
        xla=True,
    ),
    "cpu": Scale(
        seeds=(0, 1, 2),
        learning_rates=(1e-4, 5e-4),
        bindings=(
            "MISSING_TRAIN = 'dev'",
            "MAX_SOURCE_LENGTH = 30",
            "MAX_TARGET_LENGTH = 30",
        ),
        pretrain_epochs=10,
        epochs=3,
        batch_size=32,
        updates=8,
        nes_epochs=1,
        nes_updates=4,
        xla=False,
        brief=("RU_GSD", "RU_TAIGA"),
    ),
}
