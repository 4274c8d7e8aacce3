"""How hard these tests look: `pytest` a little, `pytest -m reliability` a lot."""

import hypothesis
import pytest

# Found by example: no time limit of a single one, which a busy machine would break.
hypothesis.settings.register_profile("quick", max_examples=60, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=3000, deadline=None)


def is_thorough(config):
    """Whether only these tests were asked for, so that they may take their time."""
    return config.option.markexpr == "reliability"


def pytest_configure(config):
    # Before the tests are read: each takes over what holds then.
    profile = "thorough" if is_thorough(config) else "quick"
    hypothesis.settings.load_profile(profile)


@pytest.fixture(scope="session")
def thorough(request):
    return is_thorough(request.config)
