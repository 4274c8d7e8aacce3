"""Distribution strategies by name."""

from __future__ import annotations

import contextlib

import tensorflow as tf

from tfnes.errors import ConfigurationError


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
    """
    if name == "none":
        if num_devices is not None:
            raise ConfigurationError(
                f"--num_devices={num_devices} needs --strategy=mirrored."
            )
        return contextlib.nullcontext()
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy().scope()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and num_devices is not None:
        return tf.distribute.MirroredStrategy(_logical_cpus(num_devices)).scope()
    if num_devices is not None and num_devices > len(gpus):
        raise ConfigurationError(
            f"--num_devices={num_devices}, but this machine has {len(gpus)} GPUs. "
            "Ask for at most that many."
        )
    devices = [f"GPU:{i}" for i in range(num_devices or len(gpus))] or ["CPU:0"]
    return tf.distribute.MirroredStrategy(devices).scope()


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
