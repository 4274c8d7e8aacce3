"""Figure 4 and Table 3."""

import dataclasses
import json

import numpy as np
import pytest
from made_images import write_images

from tfnes.experiments.reproduce import (
    images,
    table3,
)
from tfnes.reproduce import main


def fake_results(study, neg_elbo):
    """Makes up all results; returns them when the study asks for no more."""
    results = {}
    while True:
        new = [r for r in study.more_runs(results) if r.name not in results]
        if not new:
            return results
        for run in new:
            scores = {images.OBJECTIVE: neg_elbo(run), images.ARGMAX: 1.0}
            scores |= {"used_codes": 9.0, "kl": 2.0}
            results[run.name] = {"scores": {"validation": scores, "test": scores}}


@pytest.fixture
def search_of_table3(settings, monkeypatch):
    """Table 3 with all N, four widths and a choice of rates, on a small scale."""
    sizes = dataclasses.replace(table3.SIZES["paper"], widths=(16, 32, 64, 128))
    monkeypatch.setitem(table3.SIZES, "cpu", sizes)
    scale = images.SCALES["cpu"]
    rates = {"learning_rates": (1e-3, 3e-3), "search_epochs": 5, "epochs": 20}
    monkeypatch.setitem(images.SCALES, "cpu", dataclasses.replace(scale, **rates))
    return table3.Table3(settings)


def test_table3_finds_the_smallest_population(search_of_table3):
    study = search_of_table3

    def neg_elbo(run):
        rate = 0.0 if "rate0.003" in run.name else 1.0
        if "gumbel" in run.name:
            return 240.0 + rate
        population = int(run.name.split("nes-n")[1].split("-")[0])
        width = int(run.name.split("-width")[1].split("-")[0])
        return 240.0 + rate + (0.5 if population < width else -0.5)

    results = fake_results(study, neg_elbo)
    rows = study.report(results).tables[0].to_json()["rows"]
    assert [row["N"] for row in rows[:4]] == ["20", "40", "80", "150"]
    assert [row["N"] for row in rows[4:]] == ["16", "32", "64", "128"]
    growth = [None, "+100 %", "+100 %", "+88 %"]
    assert [row["growth of N"] for row in rows[:4]] == growth
    # All seeds at the best rate only.
    assert {n.split("-rate")[1] for n in results if "epochs20" in n} == {
        f"0.003-seed{seed}" for seed in range(3)
    }


def test_table3_says_when_no_population_is_enough(search_of_table3):
    study = search_of_table3
    results = fake_results(study, lambda run: 1.0 if "gumbel" in run.name else 2.0)
    rows = study.report(results).tables[0].to_json()["rows"]
    assert [row["N"] for row in rows] == ["> 400"] * 4 + ["> 128"] * 4
    rows = study.report({}).tables[0].to_json()["rows"]
    assert {(row["N"], row["collapsed"]) for row in rows} == {(None, None)}


def test_collapse_is_seen():
    def result(codes, neg_elbo):
        scores = {"used_codes": codes, images.OBJECTIVE: neg_elbo}
        return {"scores": {"test": scores}}

    good, one, bad = result(8.0, 240.0), result(1.0, 240.0), result(5.0, 383.0)
    assert images.collapsed_text([good], 382.0) == "no"
    assert images.collapsed_text([good, one, bad], 382.0) == "**2 of 3**"


def test_figure4_smoke(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(120, 28, 28, 1), dtype=np.uint8)
    write_images(tmp_path / "tfds", "kmnist", pixels[:90], pixels[90:])
    arguments = [
        "figure4",
        "--smoke",
        f"--data_dir={tmp_path / 'tfds'}",
        f"--output_dir={tmp_path / 'out'}",
        "--only=kmnist-nes",
        "--only=kmnist-trivial",
    ]
    assert main(arguments) == 0
    value = json.loads((tmp_path / "out" / "figure4.json").read_text("utf-8"))
    rows = [row for row in value["tables"][0]["rows"] if row["data"] == "KMNIST"]
    measured = {r["method"]: r["test −ELBO, exact expectation"] for r in rows}
    assert measured["one mean image"] > measured["ten clusters + log 10"] - 50
    label = images.nes(images.SCALES["cpu"]).label
    assert measured[label]["mean"] > 400
    assert (tmp_path / "out" / "figure4.png").exists()
