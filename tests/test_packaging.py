"""What is built from the repository: a wheel and an sdist that hold all they need."""

import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import tfnes

ROOT = pathlib.Path(tfnes.__file__).parents[1]
BUILD = """
import setuptools.build_meta as build
print(build.build_wheel("dist"), build.build_sdist("dist"))
"""

pytestmark = pytest.mark.skipif(
    not (ROOT / "setup.py").is_file(), reason="not a checkout"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Returns wheel and sdist, built in a copy so that the checkout stays as it is."""
    copy = tmp_path_factory.mktemp("copy") / "tfnes"
    copy.mkdir()
    leave = shutil.ignore_patterns("__pycache__")
    for name in ("tfnes", "gin_configs", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=leave)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    (copy / "dist").mkdir()
    command = [sys.executable, "-c", BUILD]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel, sdist = done.stdout.split()[-2:]
    return copy / "dist" / wheel, copy / "dist" / sdist


def test_wheel_and_sdist_are_complete(built):
    wheel, sdist = built
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"tfnes/py.typed", "tfnes/benchmarks/nes_step.py"} <= in_wheel
    for path in [*ROOT.glob("gin_configs/**/*.gin"), *ROOT.glob("tfnes/**/*.py")]:
        name = path.relative_to(ROOT).as_posix()
        assert name in in_sdist
        assert (name if name.startswith("tfnes") else f"tfnes/{name}") in in_wheel
    assert not any(name.startswith("tests") for name in in_wheel)


def test_an_installed_wheel_finds_configurations_and_benchmarks(built, tmp_path):
    zipfile.ZipFile(built[0]).extractall(tmp_path)
    code = (
        "import tfnes\n"
        "from tfnes.benchmark import benchmarks\n"
        "from tfnes.experiments.configuration import find_config\n"
        "print(find_config('gin_configs/parser_nes.gin'))\n"
        "print(benchmarks()['nes_step'][0])\n"
    )
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(tmp_path / "tfnes" / "gin_configs" / "parser_nes.gin"),
        str(tmp_path / "tfnes" / "benchmarks" / "nes_step.py"),
    ]
