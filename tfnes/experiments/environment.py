"""On what a run was made: versions, machine, data."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import logging
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from typing import Any

import tensorflow as tf

import tfnes
from tfnes.errors import RunDirectoryError
from tfnes.experiments import configuration
from tfnes.experiments.run_directory import RunDirectory

LOGGER = logging.getLogger("tfnes")

PACKAGES = (
    "tensorflow",
    "keras",
    "numpy",
    "tensorflow-probability",
    "tensorflow-datasets",
    "gin-config",
)


def record(directory: RunDirectory, dataset: Any) -> None:
    """Writes `environment.json`, or compares it with the one of a run that resumes.

    Raises:
      RunDirectoryError: if the data is not what it was when the run began.
    """
    now = describe(dataset)
    old = directory.read_environment()
    if not old:
        directory.write_json(directory.environment, now)
        return
    if old.get("data_digest") != now["data_digest"]:
        raise RunDirectoryError(
            f"{directory.path}: the data is not what it was when this run began. "
            f"Then:\n{old.get('data')}\nNow:\n{now['data']}\n"
            "Give another --output_dir for a run on the new data."
        )
    changed = [
        f"{name} {old['versions'].get(name)} -> {version}"
        for name, version in now["versions"].items()
        if old.get("versions", {}).get(name) != version
    ]
    if changed:
        LOGGER.warning(
            "the run began with other versions (%s); numbers may differ in the last "
            "bits.",
            ", ".join(changed),
        )


def describe(dataset: Any) -> dict[str, Any]:
    """Returns versions, machine, command and data, ready for JSON."""
    data = dataset.describe()
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": versions(),
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "replicas": tf.distribute.get_strategy().num_replicas_in_sync,
        "module_folders": configuration.module_folders(),
        "data": data,
        "data_digest": digest(dataset),
    }


def digest(dataset: Any) -> str:
    """Returns a hash of all sentences, or, without any, of the description."""
    digest = hashlib.sha256(dataset.describe().encode())
    if hasattr(dataset, "sentences"):
        for split in dataset.splits:
            for sentence in dataset.sentences(split):
                fields = (sentence.forms, sentence.heads, sentence.relations)
                digest.update(repr(fields).encode())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Returns the versions of this package and of those that numbers depend on."""
    found = {"tfnes": tfnes.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """Returns the commit of the checkout that the package is in, if it is in one."""
    folder = pathlib.Path(tfnes.__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        output = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return output.stdout.strip()
