"""Distribution strategies by name."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading

import tensorflow as tf

from tfnes.errors import ConfigurationError, WorkerLostError

LOGGER = logging.getLogger("tfnes")


def strategy_scope(
    name: str = "none", *, num_devices: int | None = None
) -> contextlib.AbstractContextManager:
    """Returns the scope in which model and optimizer are to be made.

    To be called before TensorFlow has run anything.

    Args:
      name: "none", "mirrored" (the devices of this machine) or "multi_worker" (the
        cluster that the environment variable `TF_CONFIG` describes).
      num_devices: replicas of "mirrored"; on a machine without GPUs that many logical
        CPU devices are made. None: all GPUs.

    Raises:
      ConfigurationError: if the devices cannot be had.
      WorkerLostError: if the workers do not come together within TensorFlow's hour, or
        one of them dies before.
    """
    if name != "mirrored" and num_devices is not None:
        raise ConfigurationError(
            f"--num_devices={num_devices} needs --strategy=mirrored."
        )
    if name == "none":
        return contextlib.nullcontext()
    if name == "multi_worker":
        check_cluster(os.environ.get("TF_CONFIG", ""))
        return _join_cluster().scope()
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


def check_cluster(text: str) -> None:
    """Checks a `TF_CONFIG`, and logs which worker this is.

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


def _join_cluster() -> tf.distribute.MultiWorkerMirroredStrategy:
    """Waits for all workers.

    TensorFlow waits outside of Python, where the handler of Ctrl-C does not come to
    run; so Ctrl-C then ends the process at once, as there is nothing to save yet.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_DFL) if in_main_thread else None
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        cause = str(error).strip().partition("\n")[0]
        raise WorkerLostError(
            f"The workers did not come together: {cause}. Expected that all that "
            "TF_CONFIG lists are started within an hour, and none ends. See their "
            "outputs, then start all of them again."
        ) from error
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, before)


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
