"""Every configuration that comes with the library is complete, and works."""

import pathlib

import gin
import numpy as np
import pytest
from made_images import write_images

import tfnes
from tfnes.experiments import catalog, configuration
from tfnes.train import main

catalog.register_all()

ROOT = pathlib.Path(tfnes.__file__).parents[1] / "gin_configs"
TOP = sorted(path.name for path in ROOT.glob("*.gin"))
PAPER = sorted(path.name for path in (ROOT / "papers/berliner2022").glob("*.gin"))
TREEBANKS = sorted(path.name for path in (ROOT / "datasets").glob("ud_*.gin"))


@pytest.fixture(autouse=True)
def empty_configuration():
    yield
    gin.clear_config()


@pytest.mark.parametrize("name", TOP)
def test_top_level_configuration_is_complete(name):
    configuration.parse([f"gin_configs/{name}"])
    for argument in ("model", "dataset", "phases"):
        assert configuration.train_argument(argument, None) is not None
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "overridden" in text


@pytest.mark.parametrize("name", PAPER)
def test_configuration_of_the_paper_is_complete(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configuration.parse([f"gin_configs/papers/berliner2022/{name}"])
    for argument in ("model", "phases"):
        assert configuration.train_argument(argument, None) is not None
    text = (ROOT / "papers/berliner2022" / name).read_text(encoding="utf-8")
    assert "overridden" in text
    if "--data_dir" in text:
        # It gets as far as looking for the files, which are not there.
        status = main(
            [
                f"--gin_file=gin_configs/papers/berliner2022/{name}",
                f"--data_dir={tmp_path}",
                "--smoke",
            ]
        )
        assert status == tfnes.errors.MissingDataError.exit_code


@pytest.mark.parametrize("name", TREEBANKS)
def test_treebank_configuration_is_complete(name, tmp_path):
    files = ["gin_configs/parser_nes.gin", f"gin_configs/datasets/{name}"]
    configuration.parse(files, [f"DATA_DIR = {str(tmp_path)!r}"])
    assert "TreebankAdaptation" in repr(configuration.train_argument("dataset", None))
    assert gin.query_parameter("POPULATION_SIZE/gin.macro.value") == 400
    # It gets as far as looking for the files, which are not there.
    with pytest.raises(tfnes.errors.MissingDataError, match="vectors") as error:
        gin.get_configurable("TreebankAdaptation")()
    assert str(error.value).count("UD_") >= 2


def test_no_include_is_deeper_than_two_levels():
    def depth(path):
        included = [
            line.split("'")[1]
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("include")
        ]
        return 1 + max((depth(ROOT.parent / name) for name in included), default=0)

    for path in ROOT.glob("**/*.gin"):
        assert depth(path) <= 3, path


@pytest.mark.parametrize("name", TOP)
def test_smoke(name, capfd, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [f"--gin_file=gin_configs/{name}", "--smoke"]
    if "--data_dir=DIR, the folder" in (ROOT / name).read_text(encoding="utf-8"):
        folder = tmp_path_factory.mktemp("images")
        pixels = np.random.default_rng(0).integers(0, 256, [60, 28, 28, 1], np.uint8)
        for images in ("fashion_mnist", "mnist"):
            write_images(folder, images, pixels, pixels[:20])
        arguments.append(f"--data_dir={folder}")
    status = main(arguments)
    out, err = capfd.readouterr()
    assert status == 0, err
    assert "time:" in out
    assert "Warning" not in err
    assert not list(tmp_path.iterdir())
