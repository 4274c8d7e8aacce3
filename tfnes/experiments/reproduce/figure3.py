"""Figure 3: distance of g to k during training, and NES on bounded losses."""

from __future__ import annotations

import dataclasses

from tfnes.experiments.reproduce import figure4, images
from tfnes.experiments.reproduce.curves import Curve, Panel, draw_panels
from tfnes.experiments.reproduce.report import Mean, Report, Table
from tfnes.experiments.reproduce.study import Study, scale_of

DATA = "fashion_mnist"
SIGMAS = (0.01, 0.1, 0.5)
BOUNDS = (1.0, 3.0, 9.0)
GAP = "test/smoothing_gap"


def gap_method(scale: images.Scale, sigma: float, *, every: int) -> images.Method:
    """Returns NES with the gap measured every so many epochs."""
    plain = images.nes(scale, sigma=sigma)
    return dataclasses.replace(
        plain,
        label=f"σ = {sigma:g}",
        key=f"gap{every}-{plain.key}",
        config="figure3_gap",
        bindings=(*plain.bindings, f"GAP_EVERY = {every}"),
    )


def bounded_method(scale: images.Scale, bound: float) -> images.Method:
    """Returns NES with every log-probability of a pixel at least -M."""
    plain = images.nes(scale)
    return dataclasses.replace(
        plain,
        label=f"M = {bound:g}",
        key=f"bound{bound:g}-{plain.key}",
        config="figure3_bounded",
        bindings=(*plain.bindings, f"BOUND = {bound:g}"),
    )


class Figure3(Study):
    """Left: |g - k| over 1,000 perturbations. Right: the loss bounded by M."""

    name = "figure3"
    title = "Figure 3: g(μ) beside k(μ) (B.2), and bounded losses (B.3)"
    search = "all seeds of all rows at the learning rate best for UNBOUNDED"

    def __init__(self, settings):
        super().__init__(settings)
        self.scale = scale_of(images.SCALES, settings)
        every = 1 if settings.scale == "paper" else 9
        unbounded = dataclasses.replace(images.nes(self.scale), label="UNBOUNDED")
        self.left = [gap_method(self.scale, s, every=every) for s in SIGMAS]
        self.right = [*(bounded_method(self.scale, m) for m in BOUNDS), unbounded]
        plain = images.search(unbounded, DATA, self.scale)
        self.cells = {
            method.key: images.search(method, DATA, self.scale, like=plain)
            for method in [*self.right, *self.left]
        }
        self.trivial = images.trivial_run(DATA, scale=self.scale, settings=settings)

    def runs(self):
        return [self.trivial, *self.more_runs({})]

    def more_runs(self, results):
        return [run for cell in self.cells.values() for run in cell.runs(results)]

    def report(self, results):
        trivial = results.get(self.trivial.name) or {}
        gaps = Table(
            [
                "σ",
                "learning rate",
                "|g − k|, first epoch",
                "|g − k|, last",
                "its standard error",
                "validation −ELBO, last epoch",
            ],
            title="Left: nats, argmax form of the ELBO, 1,000 perturbations, first "
            "1,000 test images",
        )
        gap_curves = {}
        for method in self.left:
            cell = self.cells[method.key]
            found, rate = cell.found(results), cell.best(results)
            curves = [images.epoch_curve(r, GAP) for r in found]
            gap_curves[method.label] = curves
            objective = f"validation/{images.OBJECTIVE}"
            gaps.add(
                method.label,
                None if rate is None else f"{rate:g}",
                Mean.of([c.y[0] for c in curves if c.y], 2),
                Mean.of([c.y[-1] for c in curves if c.y], 2),
                Mean.of([_last(r, f"{GAP}_error") for r in found], 3),
                Mean.of([_last(r, objective) for r in found]),
            )
        bounds = Table(figure4.COLUMNS, title="Right: bounded losses")
        title = images.TITLES[DATA]
        figure4.add_trivial_rows(bounds, title, trivial)
        bound_curves = {}
        for method in self.right:
            cell = self.cells[method.key]
            found, rate = cell.found(results), cell.best(results)
            cells = figure4.method_cells(method.label, rate, found, trivial)
            bounds.add(title, *cells)
            metric = f"validation/{images.OBJECTIVE}"
            bound_curves[method.label] = [
                _per_output(images.epoch_curve(r, metric)) for r in found
            ]
        levels = {
            label: trivial[key] / 784
            for label, key in (
                ("mean image", "mean_image"),
                ("ten clusters", "clusters"),
            )
            if key in trivial
        }
        panels = [
            Panel("|g(μ) − k(μ)|", "epoch", "nats", gap_curves, log_y=True),
            Panel(
                "bounded losses",
                "epoch",
                "validation −ELBO / 784",
                bound_curves,
                levels=levels,
            ),
        ]
        return Report(
            setting=f"{title}, NES with N = {self.scale.population_size}, all rows at "
            f"the learning rate of UNBOUNDED. {self.scale.text}",
            tables=[gaps, bounds],
            notes=[
                "The paper's Figure 3 gives curves and no numbers. It says that the "
                "gap is the smaller the smaller σ is and that it settles as learning "
                "does (left); that M = 9 is slightly better than UNBOUNDED and a small "
                "M may make the model diverge (right).",
                "The perturbations are mirrored pairs, so that the first order of "
                "their noise cancels. A bound acts in training only, as in the "
                "authors' code: it holds the probability of each pixel within "
                "[exp(−M), 1 − exp(−M)], so that the ELBO over the 784 outputs is "
                "bounded by M; all rows are evaluated without it.",
            ],
            figures={"": draw_panels(panels, columns=2, size=4.2)},
        )


def _last(result, column: str) -> float | None:
    values = [row[column] for row in result["history"] if column in row]
    return values[-1] if values else None


def _per_output(curve: Curve) -> Curve:
    return Curve(curve.x, [value / 784 for value in curve.y])
