"""Distribution strategies by name."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
from collections.abc import Mapping, Sequence

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from tfnes.errors import ConfigurationError, WorkerLostError

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
        cluster = check_cluster(os.environ.get("TF_CONFIG", ""))
        return _join_cluster(cluster, seconds=worker_timeout).scope()
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


def check_cluster(text: str) -> Mapping[str, Sequence[str]]:
    """Checks a `TF_CONFIG`, logs which worker this is, and returns the cluster.

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
    return cluster


def _join_cluster(
    cluster: Mapping[str, Sequence[str]], *, seconds: int
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Waits for all workers, so many seconds.

    TensorFlow waits outside of Python, where the handler of Ctrl-C does not come to
    run; so Ctrl-C then ends the process at once, as there is nothing to save yet.
    """
    # The strategy takes over what is configured before, and has no argument for it:
    # by itself it would wait for an hour.
    leader = "chief" if cluster.get("chief") else "worker"
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{leader}/replica:0/task:0",
        cluster_register_timeout_in_ms=1000 * seconds,
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(name=job, num_tasks=len(addresses))
            for job, addresses in cluster.items()
            if addresses
        ],
    )
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_DFL) if in_main_thread else None
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        cause = str(error).strip().partition("\n")[0]
        raise WorkerLostError(
            f"The workers did not come together: {cause}. Expected that all that "
            f"TF_CONFIG lists are started within {seconds} s (--worker_timeout), and "
            "none ends. See their outputs, then start all of them again."
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
