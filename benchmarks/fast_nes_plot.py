"""Draws the curves of `fast_nes.py --csv`: negative ELBO against time and evaluations.

    python benchmarks/fast_nes_plot.py curves.csv --out=fast_nes.png \
        --label "Exact()" Exact --level mnist "mean image" 205.9

A row of panels for each kind of images: left against CPU seconds of the updates, right
against evaluations of the model on a batch, both on a logarithmic scale. Of every
method the learning rate with the most seeds is drawn, of these the one that got lowest:
the median of its seeds, and a band from the lowest to the highest. Only methods with a
`--label` are drawn, in their order.
"""

import argparse
import csv
import sys

import numpy as np
import setups

from tfnes.experiments.reproduce.curves import Curve, Panel, draw_panels

TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


def read(paths):
    """Returns `{(images, expression): {rate: {seed: [updates, seconds, value]}}}`."""
    found = {}
    for path in paths:
        with open(path, newline="") as source:
            runs, key, last = [], None, 0.0
            for images, expression, rate, seed, *point in csv.reader(source):
                updates, seconds, value = map(float, point)
                # A key that comes again with fewer updates is another run.
                if key != (images, expression, rate, seed) or updates <= last:
                    key = (images, expression, rate, seed)
                    runs.append((key, []))
                runs[-1][1].append((updates, seconds, value))
                last = updates
        for (images, expression, rate, seed), points in runs:
            seeds = found.setdefault((images, expression), {}).setdefault(rate, {})
            if len(points) > len(seeds.get(seed, ())):
                seeds[seed] = points
    return found


def best_rate(rates):
    """Returns the seeds' points at the rate to draw."""

    def order(seeds):
        reached = [min(value for *_, value in points) for points in seeds.values()]
        return -len(seeds), np.median(reached)

    return min(rates.values(), key=order)


def panel(found, images, labels, levels, *, seconds, legend):
    curves = {}
    for expression, label in labels:
        if (images, expression) not in found:
            continue
        each = setups.estimator_of(expression).evaluations_per_step
        curves[label] = [
            Curve([time if seconds else each * n for n, time, _ in points], values)
            for points in best_rate(found[images, expression]).values()
            for values in [[value for *_, value in points]]
        ]
    return Panel(
        title=TITLES.get(images, images),
        x_label="CPU seconds" if seconds else "evaluations of a batch",
        y_label="negative ELBO of the test images",
        curves=curves,
        levels={label: float(v) for name, label, v in levels if name == images},
        log_x=True,
        bands=True,
        legend=legend,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", nargs="+")
    parser.add_argument("--out", required=True)
    parser.add_argument("--label", nargs=2, action="append", default=[])
    parser.add_argument("--level", nargs=3, action="append", default=[])
    flags = parser.parse_args()
    found = read(flags.csv)
    kinds = list(dict.fromkeys(images for images, _ in found))
    panels = [
        panel(
            found,
            images,
            flags.label,
            flags.level,
            seconds=seconds,
            legend=seconds and images == kinds[0],
        )
        for images in kinds
        for seconds in (True, False)
    ]
    draw_panels(panels, columns=2, size=5.0).savefig(flags.out, dpi=90)


if __name__ == "__main__":
    sys.exit(main())
