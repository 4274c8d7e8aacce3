"""Distribution strategies by name."""

from __future__ import annotations

import contextlib
import json
import logging
import os

import tensorflow as tf

from tfnes.errors import ConfigurationError
from tfnes.experiments.rendezvous import wait_for_workers

LOGGER = logging.getLogger("tfnes")


def strategy_scope(
    name: str = "none", *, num_devices: int | None = None, worker_timeout: int = 600
) -> contextlib.AbstractContextManager:
    """Returns the scope in which model and optimizer are to be made.

    To be called before TensorFlow has run anything.

    Args:
      name: "none", "mirrored" (the devices of this machine) or "multi_worker" (the
        cluster that the environment variable `TF_CONFIG` describes).
      num_devices: replicas of "mirrored"; on a machine without GPUs that many logical
        CPU devices are made. None: all GPUs.
      worker_timeout: seconds that "multi_worker" waits for the others to start.

    Raises:
      ConfigurationError: if the devices cannot be had.
      WorkerLostError: if the workers do not come together in time.
    """
    if name != "mirrored" and num_devices is not None:
        raise ConfigurationError(
            f"--num_devices={num_devices} needs --strategy=mirrored."
        )
    if name == "none":
        return contextlib.nullcontext()
    if name == "multi_worker":
        addresses, index = check_cluster(os.environ.get("TF_CONFIG", ""))
        wait_for_workers(addresses, index, seconds=worker_timeout)
        return tf.distribute.MultiWorkerMirroredStrategy().scope()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and num_devices is not None:
        return tf.distribute.MirroredStrategy(
            _logical_cpus(num_devices),
            cross_device_ops=tf.distribute.ReductionToOneDevice(),
        ).scope()
    if num_devices is not None and num_devices > len(gpus):
        raise ConfigurationError(
            f"--num_devices={num_devices}, but this machine has {len(gpus)} GPUs. "
            "Ask for at most that many."
        )
    devices = [f"GPU:{i}" for i in range(num_devices or len(gpus))] or ["CPU:0"]
    return tf.distribute.MirroredStrategy(devices).scope()


def check_cluster(text: str) -> tuple[list[str], int]:
    """Checks a `TF_CONFIG`; returns where all workers are, and which one this is.

    Raises:
      ConfigurationError: if it does not describe a cluster with this process in it.
    """
    example = (
        '{"cluster": {"worker": ["host0:port", "host1:port"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        addresses = [*cluster.get("chief", []), *cluster["worker"]]
        kind, index = task["type"], int(task["index"])
        address = cluster[kind][index]
        if not set(cluster) <= {"chief", "worker"} or index < 0:
            raise KeyError(kind)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise ConfigurationError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, which "
            "lists all workers and says which one this process is, for example "
            f"{example}. Received: {text!r}."
        ) from None
    others = [other for other in addresses if other != address]
    LOGGER.info(
        "Worker %d of %d, at %s; waiting for %s.",
        addresses.index(address),
        len(addresses),
        address,
        ", ".join(others) or "nobody",
    )
    return addresses, addresses.index(address)


def _logical_cpus(count: int) -> list[str]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    wanted = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
    except RuntimeError as error:
        raise ConfigurationError(
            "The logical CPU devices must be made before TensorFlow runs anything: "
            f"{error}"
        ) from None
    return [f"CPU:{i}" for i in range(count)]
