"""Workers find each other before TensorFlow waits for them."""

import concurrent.futures
import socket
import time

import pytest
from test_workers import free_addresses

from tfnes.errors import ConfigurationError, WorkerLostError
from tfnes.experiments.rendezvous import wait_for_workers

pytestmark = pytest.mark.reliability


def test_all_go_on_once_the_last_one_is_there():
    addresses, came = free_addresses(4), []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:

        def worker(index):
            wait_for_workers(addresses, index, seconds=60)
            came.append(index)

        first = [pool.submit(worker, index) for index in (3, 0, 2)]
        # A stranger at the door, and a worker that ends while the others wait.
        host, port = addresses[0].split(":")
        stranger = socket.create_connection((host, int(port)), timeout=10)
        stranger.sendall(b"GET /" * 9)
        with pytest.raises(WorkerLostError, match="Still missing after 0 s"):
            wait_for_workers([*addresses[:3], free_addresses(1)[0]], 1, seconds=0)
        assert not came
        stranger.close()
        pool.submit(worker, 1).result(timeout=60)
        for each in first:
            each.result(timeout=60)
    assert sorted(came) == [0, 1, 2, 3]


def test_who_is_missing_is_named():
    addresses = free_addresses(3)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(wait_for_workers, addresses, 2, seconds=2)
        missing = rf"0.5 s \(--worker_timeout\): worker 1 \({addresses[1]}\)\. "
        with pytest.raises(WorkerLostError, match=missing):
            wait_for_workers(addresses, 0, seconds=0.5)
        # The first one has given up by now.
        with pytest.raises(WorkerLostError, match=r"2 s .* worker 0 .*, worker 1 "):
            other.result(timeout=60)


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match="cannot listen there"):
            wait_for_workers([address, "127.0.0.1:1"], 0, seconds=1)
    began = time.monotonic()
    wait_for_workers([address], 0, seconds=60)  # alone: nobody to wait for
    assert time.monotonic() - began < 30
