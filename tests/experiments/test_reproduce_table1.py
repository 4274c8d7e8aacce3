"""Table 1."""

from tfnes.experiments.reproduce import (
    table1,
)


def test_table1_gives_every_method_the_same_time_and_restarts(settings):
    study = table1.Table1(settings)
    results = {}
    while new := [r for r in study.more_runs(results) if r.name not in results]:
        for run in new:
            if run.name.startswith("time-"):
                results[run.name] = {"processor": 0.1 if "-nes-" in run.name else 0.01}
                continue
            seed = int(run.name.split("-seed")[1])
            bad = "rate0.003-" in run.name or ("-n8-" in run.name and seed % 2)
            scores = {"neg_elbo": 1300.0 if bad else 1200.0}
            scores |= {"edge_f1": 0.9, "sample_edge_f1": 0.1 if bad else 0.8}
            results[run.name] = {
                "scores": {"validation": scores, "test": scores},
                "baselines": {},
                "history": [
                    {"epoch": float(run.name.split("-epochs")[1].split("-")[0])}
                ],
            }
    rows = study.report(results).tables[0].to_json()["rows"]
    assert {(r["vertices"], r["latent space"]) for r in rows} == {
        (8, "spanning tree"),
        (5, "spanning tree"),
        (5, "n − 1 individual edges"),
        (10, "spanning tree"),
    }
    small, restarted = (
        {
            r["method"]: r
            for r in rows
            if r["vertices"] == n and "tree" in r["latent space"]
        }
        for n in (5, 8)
    )
    # 12 s are 1,200 or 120 updates of 16 of 8,000 graphs, 25 s are 2,500.
    assert small["NVIL"]["epochs"]["values"] == [2.0] * 3
    assert small["NES"]["epochs"]["values"] == [1.0] * 3
    assert small["NES"]["paper: F1 (%)"] == "92 ± 0.2"
    assert restarted["SST"]["epochs"]["values"] == [5.0] * 3
    (hybrid,) = (r for name, r in restarted.items() if name.startswith("Hybrid"))
    assert hybrid["epochs"]["values"] == [10.0] * 3
    # The worse one of two runs counts nowhere but in the list of all.
    assert restarted["SST"]["settings"] == "rate 0.001, temperature 1"
    assert restarted["SST"]["test ELBO"]["mean"] == -1200
    assert restarted["SST"]["F1, samples (%)"]["mean"] == 80
    every = restarted["SST"]["F1, samples, of every run (%)"]
    assert every == "80, 10, 80, 10, 80, 10"
