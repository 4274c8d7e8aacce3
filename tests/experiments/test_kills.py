"""Runs that are killed at random moments end as if they had never been disturbed."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_resume import assert_same_run, weights
from test_storage import leftovers
from test_workers import start_two_workers

from tfnes.errors import WorkerLostError

pytestmark = pytest.mark.reliability

HERE = pathlib.Path(__file__).parent
TOY = str(HERE / "toy.gin")
GIN_CONFIGS = pathlib.Path(__file__).parents[2] / "gin_configs"
PARSER = (
    f"--gin_file={GIN_CONFIGS / 'parser_nes.gin'}",
    "--gin_param=DemoTreebank.source_train=64",
    "--gin_param=DemoTreebank.target_train=64",
    "--gin_param=DemoTreebank.target_test=20",
    "--gin_param=POPULATION_SIZE=4",
    "--gin_param=PRETRAIN_EPOCHS=2",
    "--gin_param=ADAPT_EPOCHS=2",
    "--gin_param=train.checkpoint_updates=2",
)


def start(output_dir, *arguments, before_write=0):
    """Starts `train` in a process, which kills itself before a certain write."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "TOY_KILL_BEFORE_WRITE": str(before_write),
    }
    command = [sys.executable, "-m", "tfnes.train", f"--output_dir={output_dir}"]
    return subprocess.Popen(
        [*command, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    out, _ = process.communicate(timeout=900)
    print(out)  # shown where a test fails
    return process.returncode


def kill_at_random(output_dir, *arguments, kills, seconds, seed):
    """Kills one run so many times, each within `seconds`; then lets it end."""
    moments = random.Random(seed)
    survived = 0
    while survived < kills:
        process = start(output_dir, *arguments)
        try:
            process.wait(timeout=moments.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            survived += 1
        assert finish(process) in (0, -signal.SIGKILL)
        if (output_dir / "metrics.json").exists():
            break
    assert finish(start(output_dir, *arguments)) == 0
    return survived


def test_kills_at_random_moments(undisturbed, tmp_path, thorough):
    run = tmp_path / "run"
    kills = 20 if thorough else 1
    kill_at_random(run, f"--gin_file={TOY}", kills=kills, seconds=9, seed=kills)
    assert_same_run(run, undisturbed)
    assert not leftovers(run)


def test_kills_while_files_are_written(undisturbed, tmp_path, thorough):
    run = tmp_path / "run"
    # Each start gets further by some writes; the last one gets to the end.
    for number in range(1, 40) if thorough else (9,):
        process = start(run, f"--gin_file={TOY}", before_write=number)
        if finish(process) == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert finish(start(run, f"--gin_file={TOY}")) == 0
    assert_same_run(run, undisturbed)
    assert not leftovers(run)


@pytest.mark.thorough
def test_kills_of_the_main_job(tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    started = time.monotonic()
    assert finish(start(whole, *PARSER)) == 0
    seconds = time.monotonic() - started
    # Not over a run's whole length: a resumed run is short, and would often come to its
    # end. Its last moments are reached all the same, by runs that were resumed.
    survived, seed = 0, 0
    while survived < 20:
        survived += kill_at_random(
            run, *PARSER, kills=20 - survived, seconds=0.6 * seconds, seed=seed
        )
        assert_same_run(run, whole)
        assert not leftovers(run)
        run, seed = tmp_path / f"run{seed}", seed + 1


@pytest.mark.thorough
def test_kills_of_one_of_two_workers(undisturbed, tmp_path):
    run, survived, number = tmp_path / "run", 0, 0
    moments = random.Random(0)
    seconds = None  # of most of a whole run, once known; see above
    while seconds is None or survived < 20 or not (run / "metrics.json").exists():
        began = time.monotonic()
        # One that waits for a worker that was killed before it came gives up.
        processes = start_two_workers(run, arguments=2 * ("--worker_timeout=20",))
        victim = processes[moments.randrange(2)]
        try:
            if seconds is not None and survived < 20:
                victim.wait(timeout=moments.uniform(0, seconds))
            else:
                victim.wait()
        except subprocess.TimeoutExpired:
            victim.kill()
            survived += 1
        for process in processes:
            print(process.communicate(timeout=200)[1])
        statuses = {process.returncode for process in processes}
        print(f"{survived} kills survived; {statuses}")
        assert statuses <= {0, -signal.SIGKILL, WorkerLostError.exit_code}
        if statuses == {0}:
            seconds = seconds or 0.6 * (time.monotonic() - began)
            assert not leftovers(run)
            for a, b in zip(weights(run), weights(undisturbed), strict=True):
                np.testing.assert_array_equal(a, b)
            if survived < 20:
                run, number = tmp_path / f"run{number}", number + 1
