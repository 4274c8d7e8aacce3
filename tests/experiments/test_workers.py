"""Runs on two workers: what they tell each other, how they die, how they go on."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from test_resume import history, weights

import tfnes
from tfnes.errors import ConfigurationError, WorkerLostError
from tfnes.experiments.distribution import check_cluster
from tfnes.experiments.workers import Workers, _as_integers, _from_integers

HERE = pathlib.Path(__file__).parent
PACKAGE = pathlib.Path(tfnes.__file__).parent


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def start_two_workers(
    output_dir, *, stops=("", ""), late=0, arguments=("", ""), versions=("", "")
):
    """Starts the toy on two workers, the second one late; returns the processes."""
    addresses = free_addresses(2)
    processes = []
    for index, stop in enumerate(stops):
        time.sleep(late * index)
        task = {"type": "worker", "index": index}
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(HERE), str(PACKAGE.parent)]),
            "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
            "TOY_STOP": stop,
            "TOY_VERSION": versions[index],
        }
        command = [sys.executable, "-m", "tfnes.train", "--strategy=multi_worker"]
        command += [f"--gin_file={HERE / 'toy.gin'}", f"--output_dir={output_dir}"]
        command += arguments[index].split()
        # In a folder of its own, so that what it writes by mistake is seen.
        folder = output_dir.parent / f"worker{index}"
        folder.mkdir(exist_ok=True)
        processes.append(
            subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def run_on_two_workers(output_dir, *, stops=("", "")):
    """Runs the toy on two workers; returns exit status, output and errors of each."""
    results = []
    for process in start_two_workers(output_dir, stops=stops):
        try:
            out, err = process.communicate(timeout=500)
        finally:
            process.kill()
        print(err)  # shown where a test fails
        results.append((process.returncode, out, err))
    return results


def test_stopped_workers_start_again_and_give_the_same_bits(tmp_path, train_toy):
    run = tmp_path / "run"
    # One worker dies: the other one ends, and says why and what to do. (That either may
    # die is among the thorough tests of kills.)
    (chief, _, _), (status, _, err) = run_on_two_workers(run, stops=("SIGKILL@25", ""))
    assert chief == -signal.SIGKILL
    assert status == WorkerLostError.exit_code
    assert "Error: Worker 0 (127.0.0.1:" in err
    assert "start all workers again with the same commands" in err
    assert "Traceback" not in err
    # A signal to all of them: all save and end, and the chief says how to go on.
    results = run_on_two_workers(run, stops=("SIGTERM@33", "SIGTERM@33"))
    for status, _, err in results:
        assert status == 128 + signal.SIGTERM
        assert "SIGTERM: stopping after this update" in err
        assert "Traceback" not in err
    err = results[0][2]
    assert "Resuming: phase second, 0 of 3 epochs done, 3 updates of the next" in err
    assert f"--output_dir={run}" in err
    (status, out, err), other = run_on_two_workers(run)
    assert status == 0
    assert "Resuming: phase second, 1 of 3 epochs done, 4 updates of the next" in err
    assert "after second" in out
    # The chief alone reports and writes.
    assert other[:2] == (0, "")
    assert not list((tmp_path / "worker1").iterdir())
    # The same as one device without a cluster: only how the losses of an evaluation are
    # summed depends on the number of workers.
    whole = tmp_path / "whole"
    assert train_toy(whole)[0] == 0
    for a, b in zip(weights(run), weights(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    for row, other in zip(history(run), history(whole), strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            if name.startswith("validation/"):
                assert float(value) == pytest.approx(float(other[name]), rel=1e-6)
            else:
                assert value == other[name], name


def has_stopped(process):
    """Returns whether a process is one to which SIGSTOP was sent."""
    stat = pathlib.Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


@pytest.mark.reliability
@pytest.mark.thorough
@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_hangs(victim, undisturbed, tmp_path):
    run = tmp_path / "run"
    stops = ["", ""]
    stops[victim] = "SIGSTOP@25"
    processes = start_two_workers(run, stops=stops)
    hanging, other = processes[victim], processes[1 - victim]
    try:
        while not has_stopped(hanging):
            time.sleep(0.1)
        began = time.monotonic()
        err = other.communicate(timeout=120)[1]
        print(f"ended after {time.monotonic() - began:.0f} s\n{err}")
        assert other.returncode == WorkerLostError.exit_code
        assert f"Error: Worker {victim} (127.0.0.1:" in err
        assert "it hangs" in err and "Traceback" not in err
        # The one that hung finds that the others have given it up.
        hanging.send_signal(signal.SIGCONT)
        print(hanging.communicate(timeout=120)[1])
        assert hanging.returncode not in (0, None)
    finally:
        for process in processes:
            process.kill()
    for status, _, _ in run_on_two_workers(run):
        assert status == 0
    for a, b in zip(weights(run), weights(undisturbed), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.reliability
@pytest.mark.thorough
def test_a_worker_that_comes_late_is_waited_for(undisturbed, tmp_path):
    run = tmp_path / "run"
    for process in start_two_workers(run, late=30):
        print(process.communicate(timeout=500)[1])
        assert process.returncode == 0
    for a, b in zip(weights(run), weights(undisturbed), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.reliability
@pytest.mark.thorough
def test_a_worker_that_never_comes_is_not_waited_for(tmp_path):
    (process,) = start_two_workers(
        tmp_path / "run", stops=("",), arguments=("--worker_timeout=10",)
    )
    err = process.communicate(timeout=200)[1]
    print(err)
    assert process.returncode == WorkerLostError.exit_code
    assert "after 10 s (--worker_timeout): worker 1 (127.0.0.1:" in err
    assert "Traceback" not in err


@pytest.mark.reliability
@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_waits_for_others_can_be_stopped(number, tmp_path):
    # Tests that run in the background may ignore Ctrl-C, and hand that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        (process,) = start_two_workers(tmp_path / "run", stops=("",))
    finally:
        signal.signal(signal.SIGINT, before)
    for line in process.stderr:
        if "waiting for 127.0.0.1:" in line:
            break
    time.sleep(1)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    print(err)
    assert process.returncode in (128 + number, -number)
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.reliability
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("what", "difference"),
    [
        ({"arguments": ("", "--gin_param=RATE=0.5")}, "configuration.*RATE = 0.5"),
        ({"versions": ("", "0.0.1")}, "set of versions.*0.0.1"),
    ],
)
def test_another_configuration_or_version(what, difference, tmp_path):
    run = tmp_path / "run"
    for index, process in enumerate(start_two_workers(run, **what)):
        err = process.communicate(timeout=500)[1]
        print(err)
        assert process.returncode == ConfigurationError.exit_code
        assert "Workers [1] have another" in err and "Traceback" not in err
        if index:
            assert re.search(difference, err, re.DOTALL)
    assert not run.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, '
        '"task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_wrong_cluster_is_refused(text):
    with pytest.raises(ConfigurationError, match="TF_CONFIG, which lists all workers"):
        check_cluster(text)


def test_the_log_says_which_worker_this_is(caplog):
    cluster = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    task = {"type": "worker", "index": 0}
    with caplog.at_level("INFO", "tfnes"):
        check_cluster(json.dumps({"cluster": cluster, "task": task}))
    assert "Worker 1 of 3, at b:2; waiting for a:1, c:3." in caplog.text


def test_who_is_gone_is_read_from_the_error():
    workers = Workers(tf.distribute.get_strategy())
    workers.addresses = ["a:1", "b:2", "c:3"]
    workers._tasks = [("chief", 0), ("worker", 0), ("worker", 1)]
    workers.index = 1
    error = tf.errors.UnavailableError(None, None, "from /job:worker/task:1: unhealthy")
    with (
        pytest.raises(WorkerLostError, match=r"^Worker 2 \(c:3\) is gone"),
        workers.watch(),
    ):
        raise error
    with (
        pytest.raises(WorkerLostError, match=r"^Another worker is gone"),
        workers.watch(),
    ):
        raise tf.errors.UnavailableError(None, None, "Socket closed")
    with (
        pytest.raises(tf.errors.UnavailableError),
        Workers(tf.distribute.get_strategy()).watch(),
    ):
        raise error


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "int64", "uint32", "bool"]
)
def test_copies_keep_the_bits(dtype):
    values = [0, 1, 1] if dtype == "bool" else [0, 1, 3]
    value = tf.cast(tf.constant(values), dtype)
    if value.dtype.is_floating:
        value = tf.concat([value, tf.cast([-0.0, float("nan"), -1e-7], dtype)], 0)
    if dtype == "uint32":
        value = tf.concat([value, tf.constant([2**32 - 1], dtype)], 0)
    copy = _from_integers(_as_integers(value) + 0, value.dtype)
    assert copy.dtype == value.dtype
    assert np.asarray(copy).tobytes() == np.asarray(value).tobytes()
