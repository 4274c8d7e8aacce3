"""Fixtures of this folder."""

import pytest

from tfnes import solvers


@pytest.fixture
def without_xla():
    """Solvers without XLA: nothing to compile, the same results."""
    with solvers.use_jit_compile(False):
        yield
