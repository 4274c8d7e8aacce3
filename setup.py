"""Package metadata; tool settings are in pyproject.toml."""

from setuptools import find_packages, setup

setup(name="tfnes", version="0.1.0", packages=find_packages(include=["tfnes", "tfnes.*"]))
