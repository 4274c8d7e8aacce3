"""Package metadata; tool settings are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "tfnes/__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

# The configurations are part of the wheel, as data of a package of their own.
CONFIG_PACKAGE = "tfnes.gin_configs"

setup(
    name="tfnes",
    version=VERSION,
    description=(
        "Discrete structured variational auto-encoders in TensorFlow, learned with "
        "Natural Evolution Strategies"
    ),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["tfnes", "tfnes.*"]), CONFIG_PACKAGE],
    package_dir={CONFIG_PACKAGE: "gin_configs"},
    package_data={"tfnes": ["py.typed"], CONFIG_PACKAGE: ["**/*.gin"]},
    install_requires=[
        "absl-py",
        "conllu>=6",
        "gin-config>=0.5",
        "importlib_resources",  # needed by tensorflow-datasets, which does not say so
        "keras>=3.15",
        "matplotlib",
        "numpy",
        "tensorboard",  # no longer comes with tensorflow
        "tensorflow>=2.20",
        "tensorflow-datasets>=4.9.9",
        "tensorflow-probability>=0.25",
        "tf-keras",  # imported by tensorflow-probability
    ],
    extras_require={
        "ud": ["udtools"],
        "vectors": ["gensim"],
        "jax": ["jax>=0.10"],
        "test": [
            "hypothesis",
            "jax>=0.10",
            "networkx",
            "pytest",
            "pytest-xdist",
            "scipy",
            "udtools",
        ],
        "dev": ["ruff"],
        "docs": ["mkdocs-material", "mkdocstrings[python]"],
    },
    entry_points={
        "console_scripts": [
            "tfnes-train = tfnes.train:main",
            "tfnes-evaluate = tfnes.evaluate:main",
            "tfnes-predict = tfnes.predict:main",
            "tfnes-reproduce = tfnes.reproduce:main",
        ]
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
