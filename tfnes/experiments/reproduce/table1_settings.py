"""The methods of Table 1, and the sizes at which it is made."""

from __future__ import annotations

import dataclasses

SPACES = {"tree": "spanning tree", "edges": "n − 1 individual edges"}


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
      key: part of the names of its runs.
      label: shown.
      config: its gin file.
      macro: a setting that is tried beside the learning rate, or None.
      paper: ELBO and F1 in percent of the paper, as printed, by space.
      paper_values: values of `macro` at the paper's scale.
      cpu_values: values of `macro` at the reduced scale.
      time: how many times the others' time a full run has, where time is what counts.
    """

    key: str
    label: str
    config: str
    macro: str | None
    paper: dict[str, tuple[str, str]]
    paper_values: tuple[float, ...] = ()
    cpu_values: tuple[float, ...] = ()
    time: float = 1.0

    def values(self, scale: str) -> tuple[float | None, ...]:
        """Returns what is tried for `macro` at a scale."""
        if self.macro is None:
            return (None,)
        return self.paper_values if scale == "paper" else self.cpu_values


METHODS = (
    Method(
        "reinforce_batch",
        "REINFORCE (Batch)",
        "table1_reinforce_batch",
        None,
        {"tree": ("−2260 ± 0", "41 ± 1"), "edges": ("−2180 ± 0", "39 ± 1")},
    ),
    Method(
        "reinforce_ema",
        "REINFORCE (EMA)",
        "table1_reinforce_ema",
        None,
        {"tree": ("−2250 ± 20", "40 ± 7"), "edges": ("−2170 ± 10", "42 ± 1")},
    ),
    Method(
        "reinforce_multi_sample",
        "REINFORCE (Multi-sample)",
        "table1_reinforce_multi_sample",
        "NUM_SAMPLES",
        {"tree": ("−2230 ± 20", "42 ± 1"), "edges": ("−2150 ± 10", "40 ± 0")},
        paper_values=(2, 4, 8),
        cpu_values=(4,),
    ),
    Method(
        "nvil",
        "NVIL",
        "table1_nvil",
        None,
        {"tree": ("−1570 ± 300", "83 ± 20"), "edges": ("−2110 ± 10", "42 ± 2")},
    ),
    Method(
        "sst",
        "SST",
        "table1_sst",
        "TEMPERATURE",
        {"tree": ("−1080 ± 110", "91 ± 3"), "edges": ("−2100 ± 20", "41 ± 1")},
        paper_values=(0.5, 1.0, 2.0, 5.0),
        cpu_values=(1.0,),
    ),
    Method(
        "nes",
        "NES",
        "table1_nes",
        "POPULATION_SIZE",
        {"tree": ("−1117 ± 45", "92 ± 0.2"), "edges": ("−2150 ± 10", "44 ± 0.6")},
        paper_values=(600,),
        cpu_values=(20,),
    ),
    Method(
        "nes_hybrid",
        "Hybrid NES, log-potentials (not in the paper), twice the time",
        "table1_nes_hybrid",
        "POPULATION_SIZE",
        {"tree": ("", ""), "edges": ("", "")},
        paper_values=(8,),
        cpu_values=(8,),
        time=2.0,
    ),
)


@dataclasses.dataclass(frozen=True)
class Size:
    """A part of the table.

    Attributes:
      num_vertices: n.
      spaces: keys of `SPACES`.
      seconds: of updates in a run, `Method.time` apart the same for every method; None:
        `Scale.epochs` say how many there are.
      methods: keys of `METHODS`; None: all.
      search_share: part of a run that is enough to choose a setting.
      restarts: runs from different initial weights for each seed, of which the best on
        validation data counts.
    """

    num_vertices: int
    spaces: tuple[str, ...] = tuple(SPACES)
    seconds: float | None = None
    methods: tuple[str, ...] | None = None
    search_share: float = 1.0
    restarts: int = 1


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes at which the table is made.

    Attributes:
      sizes: parts of the table. The settings of a method are chosen at the first one
        that has it, in its first space, and hold for all.
      hidden_units: width.
      num_train: graphs; the other splits have `num_test` each.
      num_test: see there.
      batch_size: of updates.
      seeds: of the reported runs.
      learning_rates: tried for every method.
      prediction_steps: between two true positions in training.
      skip_first: whether "no edge" sends no message.
      epochs: of every run; None: as many as take the seconds of its size.
    """

    sizes: tuple[Size, ...]
    hidden_units: int
    num_train: int
    num_test: int
    batch_size: int
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    prediction_steps: int
    skip_first: bool
    epochs: int | None


SCALES = {
    "paper": Scale(
        sizes=(Size(10, search_share=0.1),),
        hidden_units=256,
        num_train=50_000,
        num_test=10_000,
        batch_size=128,
        seeds=(0, 1, 2),
        learning_rates=(1e-4, 3e-4, 1e-3),
        prediction_steps=3,
        skip_first=False,
        epochs=128,
    ),
    "cpu": Scale(
        sizes=(
            Size(
                8,
                spaces=("tree",),
                seconds=25.0,
                methods=("sst", "nes_hybrid"),
                search_share=0.3,
                restarts=2,
            ),
            Size(5, seconds=12.0),
            Size(
                10,
                spaces=("tree",),
                seconds=50.0,
                methods=("sst", "nes_hybrid"),
                restarts=2,
            ),
        ),
        hidden_units=32,
        num_train=8000,
        num_test=500,
        batch_size=16,
        seeds=(0, 1, 2),
        learning_rates=(1e-3, 3e-3),
        prediction_steps=1,
        skip_first=True,
        epochs=None,
    ),
}
