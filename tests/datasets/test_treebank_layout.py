"""Treebanks are found where releases have them; what is missing is told at once."""

from pathlib import Path

import pytest

from tfnes.datasets import find_treebank
from tfnes.errors import ConfigurationError, MissingDataError

NAME = "UD_Russian-Taiga"


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("TFNES_DATA_DIR", raising=False)


@pytest.mark.parametrize("base", ["", "ud", "ud-treebanks-v2.17"])
def test_finds_the_official_names_and_parts(base, tmp_path):
    folder = tmp_path / base / NAME
    touch(
        folder,
        "ru_taiga-ud-train-b.conllu", "ru_taiga-ud-train-a.conllu.gz",
        "ru_taiga-ud-train-a.conllu", "ru_taiga-ud-test.conllu.gz",
        "README.md", "ru_taiga-ud-test.txt",
    )  # fmt: skip
    assert find_treebank(NAME, data_dir=tmp_path) == {
        "train": [
            folder / "ru_taiga-ud-train-a.conllu",
            folder / "ru_taiga-ud-train-b.conllu",
        ],
        "test": [folder / "ru_taiga-ud-test.conllu.gz"],
    }
    assert find_treebank(folder) == find_treebank(NAME, data_dir=tmp_path)


def test_environment_variable(tmp_path, monkeypatch):
    touch(tmp_path / NAME, "ru_taiga-ud-dev.conllu")
    monkeypatch.setenv("TFNES_DATA_DIR", str(tmp_path))
    assert list(find_treebank(NAME)) == ["dev"]


def test_a_bare_name_means_data_dir(tmp_path, monkeypatch):
    for folder in ("here", "there"):
        touch(tmp_path / folder / NAME, f"{folder}-ud-test.conllu")
    monkeypatch.chdir(tmp_path / "here")
    (found,) = find_treebank(NAME, data_dir=tmp_path / "there")["test"]
    assert found.name == "there-ud-test.conllu"
    (found,) = find_treebank(NAME)["test"]
    assert found.name == "here-ud-test.conllu"


def test_explicit_files(tmp_path):
    touch(tmp_path, "a.conllu", "b.conllu")
    a, b = tmp_path / "a.conllu", str(tmp_path / "b.conllu")
    assert find_treebank({"train": [a, b], "test": b, "dev": None}) == {
        "train": [a, Path(b)],
        "test": [Path(b)],
    }
    assert find_treebank(a) == {"train": [a]}
    with pytest.raises(MissingDataError, match=r"no\.conllu: there is no such file"):
        find_treebank(tmp_path / "no.conllu")
    with pytest.raises(ConfigurationError, match="'train', 'dev', 'test'"):
        find_treebank({"training": a})


def test_missing_treebanks_say_which_files_to_put_where(tmp_path):
    expected = rf"{tmp_path}/{NAME}/ru_taiga-ud-train\.conllu\n(.|\n)*universaldep"
    with pytest.raises(MissingDataError, match=r"Set data_dir .*TFNES_DATA_DIR"):
        find_treebank(NAME)
    with pytest.raises(MissingDataError, match=rf"no folder {tmp_path}/x\. Expected"):
        find_treebank(NAME, data_dir=tmp_path / "x")
    with pytest.raises(MissingDataError, match=expected):
        find_treebank(NAME, data_dir=tmp_path)
    touch(tmp_path / "UD_Russian-GSD")
    with pytest.raises(MissingDataError, match=r"did you mean UD_Russian-GSD\?"):
        find_treebank("UD_Russian-GDS", data_dir=tmp_path)
    touch(tmp_path / NAME, "README.md")
    with pytest.raises(MissingDataError, match=rf"has no treebank files.*\n.*{NAME}"):
        find_treebank(NAME, data_dir=tmp_path)


def test_two_releases_are_not_mixed(tmp_path):
    for release in ("v2.16", "v2.17"):
        touch(tmp_path / f"ud-treebanks-{release}" / NAME, "x-ud-test.conllu")
    with pytest.raises(ConfigurationError, match="in several folders"):
        find_treebank(NAME, data_dir=tmp_path)
