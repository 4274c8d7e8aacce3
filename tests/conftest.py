"""Fixtures of several folders."""

import pytest

from tfnes import solvers

# Not to be searched for doctests: these are no modules of tests.
collect_ignore_glob = ["*conftest.py", "*/nes_memory.py", "*/nes_on_replicas.py"]


@pytest.fixture
def without_xla():
    """Solvers without XLA: nothing to compile, the same results."""
    with solvers.use_jit_compile(False):
        yield
