"""The same weights, bit for bit, however many devices and processes share the work."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfnes.errors import ConfigurationError
from tfnes.estimators.nes.replicas import Replicas

SCRIPT = pathlib.Path(__file__).parent / "nes_on_replicas.py"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start(*arguments):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def result_of(process):
    try:
        out, errors = process.communicate(timeout=540)
    finally:
        process.kill()
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def on_devices():
    return result_of(start("mirrored"))


def test_two_and_four_devices_give_the_bits_of_one(on_devices):
    one, two, four = on_devices
    assert one["step"] == 3
    assert two == one
    assert four == one


@pytest.mark.reliability
@pytest.mark.thorough
def test_other_forms_do_not_depend_on_the_devices():
    forms = result_of(start("forms"))
    assert len(forms) == 8
    for name, (one, two) in forms.items():
        assert np.abs(one).max() > 0.1
        if name in ("hybrid", "learned sigma", "sigma by layer"):
            assert one == two
        # Of the others last bits may differ: each replica has its share of the batch,
        # so the order of summation does, and Adam magnifies that where gradients are 0.
        np.testing.assert_allclose(two, one, atol=1e-4, err_msg=name)


def test_two_workers_give_the_bits_of_one(on_devices):
    ports = free_ports(2)
    processes = [start(str(index), *ports) for index in range(2)]
    for process in processes:
        (worker,) = result_of(process)
        for key in ("weights", "history", "validation"):
            assert worker[key] == on_devices[0][key]


def test_shards_must_be_a_multiple_of_the_replicas():
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    assert strategy.run(lambda: Replicas(num_shards=3).local) == 3

    class Three:
        num_replicas_in_sync = 3
        replica_id_in_sync_group = 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.distribute, "get_replica_context", Three)
        with pytest.raises(ConfigurationError, match=r"replicas, 3.*num_shards=6"):
            Replicas(num_shards=4)
