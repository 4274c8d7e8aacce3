"""A run that is killed and started again ends as one that was never disturbed."""

import csv
import signal

import keras
import numpy as np
import pytest

import tfnes
from tfnes.errors import RunDirectoryError
from tfnes.experiments import catalog
from tfnes.experiments.checkpoints import Checkpoints, Position

catalog.register_all()  # to load any model of the library

TIMES = ("seconds", "examples/s", "evaluations/s")


def weights(run):
    return keras.saving.load_model(run / "best.keras").get_weights()


def history(run):
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def assert_same_run(run, other):
    for a, b in zip(weights(run), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert history(run) == history(other)


def test_killed_twice_gives_the_same_bits(
    undisturbed, tmp_path, train_toy, train_toy_until
):
    run = tmp_path / "run"
    # Between two checkpoints of phase one, and in the middle of phase two.
    for update in (8, 35):
        process = train_toy_until(run, update=update)
        assert process.returncode == -signal.SIGKILL
        assert not (run / "metrics.json").exists()
    position = len(history(run))
    assert position == 4  # two epochs, the start of phase two and its first epoch
    status, out, err = train_toy(run)
    assert status == 0
    assert "Resuming: phase second, 1 of 3 epochs done, 3 updates of the next" in err
    assert "after second" in out
    assert_same_run(run, undisturbed)


def test_a_damaged_checkpoint_is_passed_over(
    undisturbed, tmp_path, train_toy, train_toy_until
):
    run = tmp_path / "run"
    assert train_toy_until(run, update=25).returncode == -signal.SIGKILL
    newest = sorted((run / "checkpoints").glob("*.data-*"))[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 0xFF
    newest.write_bytes(bytes(data))
    status, _, err = train_toy(run)
    assert status == 0
    assert "is damaged" in err
    assert "going back to the checkpoint before it" in err
    assert_same_run(run, undisturbed)


def test_a_state_without_a_variable_of_the_run_is_refused(tmp_path):
    def model(*sizes):
        layers = [keras.layers.Dense(size) for size in sizes]
        network = keras.Sequential([keras.Input([2]), *layers])
        whole = tfnes.NESModel(network, loss=lambda batch, seed: batch)
        whole.compile(keras.optimizers.SGD(), tfnes.estimators.NES(population_size=2))
        return whole

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model(3), Position())
    path, position = checkpoints.latest()
    checkpoints.restore(model(3), path, position)
    with pytest.raises(
        RunDirectoryError, match=r"state-000001 must.*bias, .*kernel\. Was it"
    ):
        checkpoints.restore(model(3, 4), path, position)


def test_sigterm_saves_at_once_and_says_how_to_go_on(
    undisturbed, tmp_path, train_toy, train_toy_until
):
    run = tmp_path / "run"
    process = train_toy_until(run, update=25, what="SIGTERM")
    assert process.returncode == 128 + signal.SIGTERM
    assert f"--output_dir={run}" in process.stderr
    assert "Traceback" not in process.stderr
    status, _, err = train_toy(run)
    assert status == 0
    # 20 updates in phase one, then 5; the signal comes after the count of the fifth, so
    # the sixth is the one that is finished.
    assert "phase second, 0 of 3 epochs done, 6 updates of the next" in err
    assert_same_run(run, undisturbed)


def test_two_devices_give_the_same_bits_and_one_may_go_on(
    undisturbed, tmp_path, train_toy, train_toy_until
):
    run = tmp_path / "run"
    two = ("--strategy=mirrored", "--num_devices=2")
    process = train_toy_until(run, *two, update=25)
    assert process.returncode == -signal.SIGKILL, process.stderr
    status, _, err = train_toy(run)
    assert status == 0
    assert "Resuming: phase second, 0 of 3 epochs done, 3 updates of the next" in err
    assert_same_run(run, undisturbed)


def test_a_finished_run_prints_its_table_again(undisturbed, train_toy):
    before = (undisturbed / "metrics.json").stat().st_mtime_ns
    status, out, err = train_toy(undisturbed)
    assert status == 0
    assert "this run is finished" in err
    assert "after second" in out
    assert (undisturbed / "metrics.json").stat().st_mtime_ns == before


def test_another_configuration_is_refused(undisturbed, train_toy):
    before = {
        path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()
    }
    status, out, err = train_toy(undisturbed, "--gin_param=RATE=0.5")
    assert status == 4
    assert "-RATE = 0.01" in err
    assert "+RATE = 0.5" in err
    assert "Traceback" not in err
    assert not out
    after = {
        path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()
    }
    assert after == before


def test_another_seed_is_another_configuration(undisturbed, train_toy):
    status, _, err = train_toy(undisturbed, "--seed=3")
    assert status == 4
    assert "+train.seed = 3" in err


def test_the_best_model_may_be_the_one_a_phase_started_from(tmp_path, train_toy):
    # Training lowers the loss, so by this measure it does harm.
    harmful = [
        "--gin_param=train.monitor_mode='max'",
        "--gin_param=second/Phase.patience=1",
    ]
    status, out, _ = train_toy(tmp_path / "a", *harmful)
    assert status == 0
    assert "after second (epoch 0)" in out
    first, second = (
        line.split()[-2:] for line in out.splitlines() if line.startswith("after")
    )
    assert first == second
    # The authors' choice: the best of the epochs, even if all are worse.
    harmful.append("--gin_param=second/Phase.start_is_candidate=False")
    status, out, _ = train_toy(tmp_path / "b", *harmful)
    assert status == 0
    assert "after second (epoch 1)" in out


def test_everything_that_a_run_promises_is_there(undisturbed):
    for name in (
        "config.gin",
        "operative_config.gin",
        "environment.json",
        "history.csv",
        "best.keras",
        "metrics.json",
    ):
        assert (undisturbed / name).stat().st_size > 0, name
    for name in ("train", "validation"):
        assert list((undisturbed / name).glob("events.*")), name
    assert "NES.sigma = 0.1" in (undisturbed / "operative_config.gin").read_text()
    assert not list(undisturbed.rglob(".writing-*"))
