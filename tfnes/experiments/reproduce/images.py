"""What the studies of the unstructured VAE share: settings, runs, trivial solutions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfnes.experiments.reproduce.curves import Curve
from tfnes.experiments.reproduce.report import Mean
from tfnes.experiments.reproduce.runs import (
    FunctionRun,
    Result,
    Settings,
    TrainingRun,
)
from tfnes.experiments.reproduce.search import Search

FOLDER = "gin_configs/papers/berliner2022"
DATASETS = ("fashion_mnist", "kmnist", "omniglot")
TITLES = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "omniglot": "Omniglot",
}
OBJECTIVE = "expected_neg_elbo"
ARGMAX = "argmax_neg_elbo"
BATCH_SIZE = 128


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes at which the studies are run.

    Attributes:
      hidden_units: width of encoder and decoder (alpha of Appendix B).
      epochs: of every run.
      num_train: images of the official training split; None: all.
      seeds: of every setting that is reported.
      learning_rates: tried with the first seed for `search_epochs` epochs; the best
        on validation is used. Empty: each method's own, nothing is tried.
      search_epochs: see there.
      population_size: N of plain NES.
      noise_source: of plain NES.
    """

    hidden_units: int
    epochs: int
    num_train: int | None
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    search_epochs: int = 0
    population_size: int = 300
    noise_source: str = "fresh"

    @property
    def text(self) -> str:
        """The setting in words."""
        images = "all local images" if self.num_train is None else ""
        images = images or f"the first {self.num_train:,} local images"
        tried = ", ".join(f"{rate:g}" for rate in self.learning_rates)
        rates = f"constant learning rate {tried}"
        if not self.learning_rates:
            rates = "constant learning rate as in the table"
        elif len(self.learning_rates) > 1:
            rates = (
                f"learning rate chosen for each row on validation, after "
                f"{self.search_epochs} epochs of the first seed, among {tried}"
            )
        return (
            f"Width {self.hidden_units}, {self.epochs} epochs, batch {BATCH_SIZE}, "
            f"Adam, {rates}; {images} of the official training split, a sixth of them "
            f"for validation; the official test split as far as it is there; seeds "
            f"{', '.join(map(str, self.seeds))}. Noise of plain NES: "
            f"{self.noise_source}."
        )


SCALES = {
    "paper": Scale(
        hidden_units=300,
        epochs=300,
        num_train=None,
        seeds=(0, 1, 2),
        learning_rates=(1e-3,),
    ),
    "cpu": Scale(
        hidden_units=16,
        epochs=10,
        num_train=4000,
        seeds=(0, 1, 2),
        learning_rates=(),
        noise_source="table",
    ),
}


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to learn the unstructured VAE.

    Attributes:
      label: shown in tables and plots.
      key: part of the name of its runs.
      config: its gin file, in the paper's folder.
      learning_rate: of scales that try none.
      bindings: further bindings.
    """

    label: str
    key: str
    config: str
    learning_rate: float
    bindings: tuple[str, ...] = ()


def nes(
    scale: Scale, *, population_size: int | None = None, sigma: float = 0.1
) -> Method:
    """Returns NES as the paper has it.

    Args:
      scale: says N and where the noise comes from.
      population_size: N; None: the scale's.
      sigma: noise scale.
    """
    if population_size is None:
        population_size = scale.population_size
    bindings = (f"POPULATION_SIZE = {population_size}", f"SIGMA = {sigma:g}")
    if scale.noise_source != "fresh":
        bindings += (f"NES.noise_source = {scale.noise_source!r}",)
    return Method(
        label=f"NES (N = {population_size}, σ = {sigma:g})",
        key=f"nes-n{population_size}-sigma{sigma:g}",
        config="figure4_nes",
        learning_rate=2e-2,
        bindings=bindings,
    )


UNBIASED = Method("UNBIASED (exact gradient)", "unbiased", "figure4_unbiased", 1e-2)
ANNEALED = Method(
    "Gumbel-softmax, annealed",
    "gumbel_softmax-annealed",
    "figure4_gumbel_softmax",
    1e-2,
)


def fast_nes(*, population_size: int = 8) -> Method:
    """Returns the library's fast form, whose decoder learns by back-propagation."""
    return Method(
        label=f"fast NES (N = {population_size}, σ = 1, noise on log-potentials, by "
        "example; back-propagation for the decoder)",
        key=f"hybrid_nes-n{population_size}-sigma1",
        config="figure4_hybrid_nes",
        learning_rate=1e-2,
        bindings=(f"POPULATION_SIZE = {population_size}",),
    )


def training_run(
    method: Method, images: str, *, scale: Scale, learning_rate: float, seed: int
) -> TrainingRun:
    """Returns the run of a method on a data set."""
    name = (
        f"images-{images}-{method.key}-width{scale.hidden_units}"
        f"-epochs{scale.epochs}-rate{learning_rate:g}-seed{seed}"
    )
    bindings = [
        f"IMAGES = {images!r}",
        f"EPOCHS = {scale.epochs}",
        f"BATCH_SIZE = {BATCH_SIZE}",
        f"HIDDEN_UNITS = {scale.hidden_units}",
        f"LEARNING_RATE = {learning_rate:g}",
        f"BinarizedImages.num_train = {scale.num_train}",
        *method.bindings,
    ]
    return TrainingRun(
        name=name,
        gin_files=(f"{FOLDER}/{method.config}.gin",),
        bindings=tuple(bindings),
        seed=seed,
        needs_data=True,
    )


def search(
    method: Method, images: str, scale: Scale, *, like: Search | None = None
) -> Search:
    """Returns the runs of a method on a data set; the options are learning rates."""

    def make(rate: float, seed: int, short: bool) -> TrainingRun:
        epochs = scale.search_epochs if short else scale.epochs
        return training_run(
            method,
            images,
            scale=dataclasses.replace(scale, epochs=epochs),
            learning_rate=rate,
            seed=seed,
        )

    return Search(
        make=make,
        options=scale.learning_rates or (method.learning_rate,),
        seeds=scale.seeds,
        score=lambda result: result["scores"]["validation"][OBJECTIVE],
        like=like,
    )


def trivial_run(images: str, *, scale: Scale, settings: Settings) -> FunctionRun:
    """Returns the run that scores what needs no network."""
    used = "all" if scale.num_train is None else scale.num_train
    return FunctionRun(
        name=f"images-{images}-trivial-{used}",
        function="tfnes.experiments.reproduce.images:trivial_solutions",
        arguments={
            "images": images,
            "num_train": scale.num_train,
            "data_dir": settings.data_dir,
        },
    )


def trivial_solutions(
    images: str, *, num_train: int | None, data_dir: str | None
) -> dict[str, Any]:
    """Returns test -ELBOs of one mean image and of ten clusters, and the data's size.

    The mean image is what a model scores that tells its decoder nothing (its KL is 0);
    the clusters are about what ten codes can reach.
    """
    from tfnes.datasets import BinarizedImages
    from tfnes.metrics import cluster_neg_elbo, mean_image_neg_elbo

    data = BinarizedImages(name=images, num_train=num_train, data_dir=data_dir)
    train, test = (data.arrays(split)[0] for split in ("train", "test"))
    return {
        "mean_image": mean_image_neg_elbo(train, test),
        "clusters": cluster_neg_elbo(train, test, num_clusters=10),
        "num_train": len(train),
        "num_test": len(test),
        "describe": data.describe(),
    }


def test_mean(results: Sequence[Result], metric: str, digits: int = 1) -> Mean:
    """Returns the mean over seeds of a test metric."""
    return Mean.of([r["scores"]["test"].get(metric) for r in results], digits)


def is_collapsed(result: Result, mean_image: float | None) -> bool:
    """Returns whether a run learned no code: one code, or no better than one image."""
    scores = result["scores"]["test"]
    if scores.get("used_codes", 0) <= 1:
        return True
    # Sending all to one code costs a KL of up to log 10 and gains nothing.
    return mean_image is not None and scores[OBJECTIVE] >= mean_image


def collapsed_text(results: Sequence[Result], mean_image: float | None) -> str:
    """Returns "no", or how many of the runs collapsed."""
    count = sum(is_collapsed(result, mean_image) for result in results)
    return f"**{count} of {len(results)}**" if count else "no"


def epoch_curve(result: Result, metric: str) -> Curve:
    """Returns a metric against epochs."""
    rows = [row for row in result["history"] if metric in row]
    return Curve([row["epoch"] for row in rows], [row[metric] for row in rows])


def seconds_curve(result: Result, metric: str) -> Curve:
    """Returns a metric against seconds spent in updates, evaluation not counted."""
    x, y, total, step = [], [], 0.0, 0
    for row in result["history"]:
        rate = row.get("examples/s")
        if rate:
            total += (row["step"] - step) * BATCH_SIZE / rate
            step = row["step"]
        if metric in row and rate:
            x.append(total)
            y.append(row[metric])
    return Curve(x, y)


def update_milliseconds(result: Result) -> float | None:
    """Returns the median time of an update over the epochs."""
    rates = sorted(r["examples/s"] for r in result["history"] if r.get("examples/s"))
    return 1e3 * BATCH_SIZE / rates[len(rates) // 2] if rates else None


def count_parameters(hidden_units: int) -> int:
    """Returns the parameters of the unstructured VAE with ten codes on 784 pixels.

    Example:

        >>> [count_parameters(width) for width in (16, 512)]
        [26234, 814874]
    """
    return (785 + 10 + 11 + 784) * hidden_units + 10 + 784
