"""The documentation builds as a site, strictly and without a network."""

import os
import pathlib
import subprocess
import sys

from tfnes import errors

ROOT = pathlib.Path(__file__).parents[2]


def test_the_site_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    # Its blurb about its successor is a warning, but not of ours.
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "http_proxy": "nowhere"}
    done = subprocess.run(
        [*command, f"--site-dir={tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "notebooks/quickstart/index.html").is_file()


def test_the_exit_codes_are_those_of_the_errors():
    page = (ROOT / "docs/howto/command_line.md").read_text("utf-8")
    for name, cls in vars(errors).items():
        if isinstance(cls, type) and cls is not errors.TfnesError:
            (line,) = [line for line in page.splitlines() if f"`{name}`" in line]
            assert line.startswith(f"| {cls.exit_code} |")
