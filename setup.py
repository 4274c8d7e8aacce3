"""Package metadata; tool settings are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

DOCS = ["mkdocs-material", "mkdocstrings[python]"]

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "tfnes/__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

# Configurations and benchmarks are part of the wheel, as data of packages of their own.
CONFIG_PACKAGE = "tfnes.gin_configs"
BENCHMARK_PACKAGE = "tfnes.benchmarks"

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
    packages=[
        *find_packages(include=["tfnes", "tfnes.*"]),
        CONFIG_PACKAGE,
        BENCHMARK_PACKAGE,
    ],
    package_dir={CONFIG_PACKAGE: "gin_configs", BENCHMARK_PACKAGE: "benchmarks"},
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
        "gpu": ["tensorflow[and-cuda]>=2.20"],  # Linux, NVIDIA
        "benchmarks": [  # the peers of benchmarks/
            "evosax",
            "evotorch",
            "jax>=0.10",
            "networkx",
            "scipy",
            "supar",
            "torch-struct",
            "ufal.chu-liu-edmonds",
        ],
        "test": [
            "hypothesis",
            "jax>=0.10",
            *DOCS,  # The tests build the site and check the types.
            "mypy",
            "networkx",
            "pytest",
            "pytest-xdist",
            "scipy",
            "udtools",
        ],
        "dev": ["jupytext", "ruff"],
        "docs": DOCS,
    },
    entry_points={
        "console_scripts": [
            "tfnes-train = tfnes.train:main",
            "tfnes-evaluate = tfnes.evaluate:main",
            "tfnes-predict = tfnes.predict:main",
            "tfnes-reproduce = tfnes.reproduce:main",
            "tfnes-benchmark = tfnes.benchmark:main",
        ]
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
