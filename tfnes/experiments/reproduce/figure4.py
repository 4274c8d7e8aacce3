"""Figure 4: -ELBO of NES beside gradient methods on three data sets of images."""

from __future__ import annotations

import dataclasses

from tfnes.experiments.reproduce import images
from tfnes.experiments.reproduce.curves import Panel, draw_panels
from tfnes.experiments.reproduce.report import Report, Table
from tfnes.experiments.reproduce.study import Study, scale_of

EPOCHS = {"paper": 300, "cpu": 60}
"""By scale; at the reduced one more than the other studies of images have."""

COLUMNS = (
    "data",
    "method",
    "learning rate",
    "test −ELBO, exact expectation",
    "test −ELBO, argmax form",
    "KL",
    "codes used",
    "code perplexity",
    "collapsed",
    "best epoch",
    "ms an update",
)


class Figure4(Study):
    """NES, the exact gradient and annealed Gumbel-softmax, beside trivial solutions."""

    name = "figure4"
    title = "Figure 4: unstructured tasks (Appendix B.4)"
    search = "all seeds of each row at the learning rate that was best on validation"

    def __init__(self, settings):
        super().__init__(settings)
        self.scale = dataclasses.replace(
            scale_of(images.SCALES, settings), epochs=EPOCHS[settings.scale]
        )
        self.methods = (
            images.UNBIASED,
            images.nes(self.scale),
            images.ANNEALED,
            images.fast_nes(),
        )
        self.cells = {
            (data, method.key): images.search(method, data, self.scale)
            for data in images.DATASETS
            for method in self.methods
        }

    def runs(self):
        return [*self._trivial().values(), *self.more_runs({})]

    def more_runs(self, results):
        return [run for cell in self.cells.values() for run in cell.runs(results)]

    def report(self, results):
        table = Table(COLUMNS)
        by_epoch, by_seconds = [], []
        for data, trivial_run in self._trivial().items():
            trivial = results.get(trivial_run.name) or {}
            title = images.TITLES[data]
            add_trivial_rows(table, title, trivial)
            curves, timed = {}, {}
            for method in self.methods:
                cell = self.cells[data, method.key]
                found, rate = cell.found(results), cell.best(results)
                table.add(title, *method_cells(method.label, rate, found, trivial))
                metric = f"validation/{images.OBJECTIVE}"
                label = method.label.split(" (")[0]
                curves[label] = [images.epoch_curve(r, metric) for r in found]
                timed[label] = [images.seconds_curve(r, metric) for r in found]
            levels = {
                "mean image": trivial.get("mean_image"),
                "ten clusters": trivial.get("clusters"),
            }
            levels = {k: v for k, v in levels.items() if v is not None}
            panel = {"y_label": "validation −ELBO (nats)", "levels": levels}
            by_epoch.append(Panel(title, "epoch", curves=curves, **panel))
            by_seconds.append(
                Panel(title, "seconds of updates", curves=timed, log_x=True, **panel)
            )
        return Report(
            setting=self.scale.text,
            tables=[table],
            notes=[
                "The paper's Figure 4 gives curves and no numbers; it says that NES is "
                "competitive with UNBIASED on all three data sets, better than "
                "Gumbel-softmax on KMNIST and comparable on the other two.",
                "The exact expectation is a bound on the likelihood; the argmax form "
                "is what the authors' code reports and no bound. A run is called "
                "collapsed when its MAP latents use one code only, or when it is no "
                "better than the mean image. Curves: validation; dashed and dotted: "
                "trivial solutions on test. Mean ± standard deviation over seeds.",
            ],
            figures={"": draw_panels([*by_epoch, *by_seconds], columns=len(by_epoch))},
        )

    def _trivial(self):
        return {
            data: images.trivial_run(data, scale=self.scale, settings=self.settings)
            for data in images.DATASETS
        }


def add_trivial_rows(table: Table, title: str, trivial: dict) -> None:
    """Adds what needs no network: a mean image, ten clusters."""
    rest = [None] * (len(table.columns) - 4)
    table.add(title, "one mean image", None, trivial.get("mean_image"), *rest)
    table.add(title, "ten clusters + log 10", None, trivial.get("clusters"), *rest)


def method_cells(label: str, rate, found: list, trivial: dict) -> list:
    """Returns the cells of a method after the first one, `COLUMNS` says which."""
    mean_image = trivial.get("mean_image")
    epochs = [float(list(r["best_epochs"].values())[-1]) for r in found]
    return [
        label,
        None if rate is None else f"{rate:g}",
        images.test_mean(found, images.OBJECTIVE),
        images.test_mean(found, images.ARGMAX),
        images.test_mean(found, "kl", 2),
        images.test_mean(found, "used_codes"),
        images.test_mean(found, "code_perplexity"),
        images.collapsed_text(found, mean_image) if found else None,
        images.Mean.of(epochs, 0),
        images.Mean.of([images.update_milliseconds(r) for r in found], 1),
    ]
