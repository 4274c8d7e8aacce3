"""gin is strict, and its messages say where the mistake is and what was meant."""

import gin
import pytest

from tfnes import registration
from tfnes.errors import ConfigurationError
from tfnes.experiments import catalog, configuration
from tfnes.experiments.unused_bindings import (
    unused_bindings,
    warn_of_unused_bindings,
)

catalog.register_all()


@pytest.fixture(autouse=True)
def empty_configuration():
    yield
    gin.clear_config()


def parse_file(tmp_path, text, *bindings):
    path = tmp_path / "mine.gin"
    path.write_text(text)
    configuration.parse([str(path)], bindings)


@pytest.mark.parametrize(
    ("binding", "messages"),
    [
        ("NES.sigm = 1", ["NES has no parameter 'sigm'", "NES.sigma?", "NES.sigm = 1"]),
        ("NEZ.sigma = 1", ["nothing registered is named 'NEZ'", "'NES'"]),
        ("nes.sigma = 1", ["'nes'", "Did you mean 'NES'"]),
        ("train.model = @Parse()", ["'Parse'", "'Parser'"]),
        ("train.modle = 1", ["train has no parameter 'modle'", "train.model?"]),
        ("a/keras.optimizers.Adamm.epsilon = 1", ["'Adam'"]),
        ("NES.sigma = %SIGMAA", ["%SIGMAA", "NES.sigma", '--gin_param="SIGMAA=']),
        ("NES.sigma = [1", ["not complete"]),
        ("NES.sigma", ["NAME=VALUE"]),
    ],
)
def test_mistakes_in_bindings(binding, messages):
    with pytest.raises(ConfigurationError) as error:
        configuration.parse([], [binding])
    for message in messages:
        assert message in str(error.value)


def test_mistake_in_a_file_names_file_and_line(tmp_path):
    with pytest.raises(ConfigurationError) as error:
        parse_file(tmp_path, "# mine\nNES.sigma = 1.0\nNES.population = 4\n")
    assert "mine.gin, line 3" in str(error.value)
    assert "NES.population_size" in str(error.value)


def test_mistake_in_an_include_names_the_include(tmp_path):
    with pytest.raises(ConfigurationError, match=r"mine.gin, line 1.*nowhere.gin"):
        parse_file(tmp_path, "include 'nowhere.gin'\n")


def test_missing_file_suggests_a_near_one():
    with pytest.raises(ConfigurationError, match="parser_nes"):
        configuration.find_config("gin_configs/parser_ness.gin")


def test_includes_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configuration.find_config("gin_configs/parser_nes.gin").is_file()
    assert configuration.find_config("parser_nes").is_file()
    configuration.parse(["gin_configs/parser_nes.gin"])
    assert configuration.train_argument("monitor", None) == "source_dev/uas"


def test_later_files_and_bindings_override(tmp_path):
    parse_file(tmp_path, "train.seed = %S\nS = 4\n")
    assert configuration.train_argument("seed", 0) == 4
    parse_file(tmp_path, "train.seed = %S\nS = 4\n", "S = 5")
    assert configuration.train_argument("seed", 0) == 5
    configuration.parse([], [])
    assert configuration.train_argument("seed", 0) == 0


def test_bindings_that_nothing_used_are_named(tmp_path, caplog):
    parse_file(
        tmp_path,
        "a/NES.sigma = 0.5\nNES.num_shards = 2\nb/NES.sigma = 1.0\nUNUSED = 3\n",
    )
    from tfnes.estimators import NES

    with gin.config_scope("a"):
        assert gin.get_configurable(NES)().sigma == 0.5
    assert unused_bindings() == ["UNUSED", "b/NES.sigma"]


@pytest.mark.parametrize(
    ("binding", "warned"),
    [("SIGMA = 0.1", False), ("SIGMA = 0.12", True), ("SIGMAA = 0.1", True)],
)
def test_macros_that_come_with_the_configurations_are_offers(binding, warned, caplog):
    configuration.parse([], [binding])
    with caplog.at_level("WARNING", "tfnes"):
        warn_of_unused_bindings()
    assert ("had no effect" in caplog.text) == warned


def test_keras_optimizers_keep_their_class(tmp_path):
    import keras

    parse_file(tmp_path, "x/keras.optimizers.Adam.learning_rate = 0.25\n")
    with gin.config_scope("x"):
        optimizer = gin.get_configurable("keras.optimizers.Adam")()
    assert type(optimizer) is keras.optimizers.Adam
    assert float(optimizer.learning_rate) == 0.25


def test_catalog_has_everything_with_a_line():
    lines = catalog.catalog().splitlines()
    for name in ("DependencyTree", "NES", "Parser", "DemoTreebank", "UAS", "Phase"):
        line = next(line for line in lines if line.split()[:1] == [name])
        assert len(line.split()) > 2, f"{name} has no description"
    configs = [line for line in lines if ".gin" in line]
    assert len(configs) > 5
    assert all(len(line.split()) > 2 for line in configs)


def test_list_says_what_everything_is():
    lines = catalog.catalog().splitlines()
    entries = [line.split(None, 1) for line in lines if line.startswith("  ")]
    assert [entry[0] for entry in entries if len(entry) < 2] == []
    names = {name for name, _ in entries}
    for kind in registration.KINDS:
        assert set(registration.registered(kind)) <= names
    assert "gin_configs/parser_nes.gin" in names
