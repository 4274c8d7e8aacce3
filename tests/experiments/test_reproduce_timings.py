"""Times of updates: Figure 2, and those that Table 1 goes by."""

import dataclasses
import json

import studies as toy_studies

from tfnes.experiments.reproduce import (
    figure2,
)
from tfnes.experiments.reproduce.runner import Runner
from tfnes.experiments.reproduce.runs import FunctionRun
from tfnes.reproduce import main


def test_figure2_goes_on_until_the_limit_and_fits_exponents(settings):
    study = figure2.Figure2(dataclasses.replace(settings, scale="paper"))
    results = {}
    while new := [r for r in study.more_runs(results) if r.name not in results]:
        for run in new:
            n, method = run.arguments["size"], run.arguments["method"]
            seconds = 1e-4 * n ** (3 if method == "dpp" else 1)
            if seconds > 100:
                results[run.name] = {"over_limit": 3600.0}
            else:
                times = {"wall": [seconds] * 2, "processor": [0.0]}
                results[run.name] = {**times, "peak_gib": 1.0}
    rows = study.report(results).tables[0].to_json()["rows"]
    found = {row["method"]: row for row in rows}
    assert found["NES with Eisner (N = 4)"]["exponent, n ≥ 25"] == "1.00"
    assert found["NES with Eisner (N = 4)"]["largest n"] == 250
    assert found["perturb-and-parse (DPP)"]["exponent, n ≥ 25"] == "3.00"
    largest = found["perturb-and-parse (DPP)"]["largest n"]
    assert largest == "100 (next: not within the limit)"
    assert found["perturb-and-parse (DPP)"]["n = 250"] is None
    del results["time-dpp-batch32-n110"]
    rows = study.report(results).tables[0].to_json()["rows"]
    found = {row["method"]: row for row in rows}
    assert found["perturb-and-parse (DPP)"]["largest n"] == "100 (next: not run)"
    # One size beyond the last was tried, and no more.
    assert sum("dpp" in name for name in results) == 10


def test_figure2_smoke(tmp_path):
    out = tmp_path / "out"
    assert main(["figure2", "--smoke", f"--output_dir={out}", "--only=time-mcmc"]) == 0
    value = json.loads((out / "figure2.json").read_text("utf-8"))
    assert value["data"]["mcmc"]["5"]["wall"][0] > 0


def test_time_of_a_configuration(settings, capsys):
    run = FunctionRun(
        "time-toy",
        "tfnes.experiments.reproduce.timings:time_configuration",
        {"gin_files": [toy_studies.TOY], "bindings": [], "repetitions": 2},
    )
    runner = Runner(settings)
    runner.run_all([run])
    assert not runner.failed
    assert 0 < runner.results["time-toy"]["best"] < 10
