"""Fixtures of several folders; how hard the tests of reliability look."""

import logging

import hypothesis
import pytest

from tfnes import solvers

# Not to be searched for doctests: these are no modules of tests.
collect_ignore_glob = ["*conftest.py", "*/nes_memory.py", "*/nes_on_replicas.py"]

# No time limit of a single example, which a busy machine would break.
hypothesis.settings.register_profile(
    "quick", max_examples=60, deadline=None, derandomize=True
)
hypothesis.settings.register_profile("thorough", max_examples=3000, deadline=None)


def is_thorough(config):
    """Whether the tests of reliability alone are run: they may then take their time."""
    return config.option.markexpr == "reliability"


def pytest_configure(config):
    # Before the tests are read: each takes over what holds then.
    profile = "thorough" if is_thorough(config) else "quick"
    hypothesis.settings.load_profile(profile)


def pytest_collection_modifyitems(config, items):
    if not is_thorough(config):
        long = [item for item in items if item.get_closest_marker("thorough")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


@pytest.fixture(scope="session")
def thorough(request):
    """Whether to try many cases (`pytest -m reliability`), or a few (`pytest`)."""
    return is_thorough(request.config)


@pytest.fixture(autouse=True)
def library_log():
    """Takes back what programs did to the log, which would hide it from `caplog`."""
    logger = logging.getLogger("tfnes")
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture
def without_xla():
    """Solvers without XLA: nothing to compile, the same results."""
    with solvers.use_jit_compile(False):
        yield
