"""The TFDS builder `ud_treebank`: treebanks by name, versioned by UD release.

Importing this module (and nothing else in the package) imports tensorflow-datasets and
makes the name known, so that `tfds.load("ud_treebank/id_csui:2.17.0")` works. The name
is not `universal_dependencies`, as TFDS has a data set of that name, of UD 2.10 alone.
"""

from __future__ import annotations

import dataclasses
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from tfnes.datasets.conllu_io import parse_conllu, read_conllu, write_conllu
from tfnes.datasets.treebank_layout import PREFIXES, expected_files, find_treebank
from tfnes.errors import ConfigurationError, MissingDataError

_URL = "https://raw.githubusercontent.com/UniversalDependencies"
_TIMEOUT_SECONDS = 10
_ALL_PARTS = ("train", "dev", "test")
_PARTS = {
    "UD_Galician-TreeGal": ("train", "test"),
    "UD_Indonesian-CSUI": ("train", "test"),
    "UD_Russian-Taiga": (*(f"train-{letter}" for letter in "abcde"), "dev", "test"),
}


@dataclasses.dataclass
class UdTreebankConfig(tfds.core.BuilderConfig):
    """One treebank.

    Attributes:
      treebank: its folder in a UD release, `"UD_Indonesian-CSUI"`.
      parts: the parts that it has, as in the names of its files.
    """

    treebank: str = ""
    parts: tuple[str, ...] = _ALL_PARTS


class UdTreebank(tfds.core.GeneratorBasedBuilder):
    """A treebank of Universal Dependencies, sentence by sentence in its order.

    Each example has `sent_id`, `forms`, `upos`, `heads`, `relations` and `conllu`, the
    lines of the file. A treebank that has no config of its own can be given as
    `config=UdTreebankConfig(name="en_ewt", treebank="UD_English-EWT")`.
    """

    VERSION = tfds.core.Version("2.17.0")
    SUPPORTED_VERSIONS = [tfds.core.Version("2.16.0")]  # noqa: RUF012
    RELEASE_NOTES = {  # noqa: RUF012
        "2.17.0": "Universal Dependencies 2.17.",
        "2.16.0": "Universal Dependencies 2.16.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        UdTreebankConfig(
            name=prefix,
            description=f"{treebank} of Universal Dependencies.",
            treebank=treebank,
            parts=_PARTS.get(treebank, _ALL_PARTS),
        )
        for treebank, prefix in PREFIXES.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Only needed without a network: put the folder of the treebank (for id_csui: "
        "UD_Indonesian-CSUI, with id_csui-ud-train.conllu and the other files), from a "
        "release at https://universaldependencies.org/#download, into manual_dir."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "sent_id": text,
                    "forms": tfds.features.Sequence(text),
                    "upos": tfds.features.Sequence(text),
                    "heads": tfds.features.Sequence(tfds.features.Scalar(np.int32)),
                    "relations": tfds.features.Sequence(text),
                    "conllu": text,
                }
            ),
            homepage="https://universaldependencies.org/",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        files = self._manual_files(dl_manager) or self._download(dl_manager)
        return {part: self._generate_examples(paths) for part, paths in files.items()}

    def _generate_examples(self, paths: list[Path]) -> Iterator[tuple[int, dict]]:
        key = 0
        for path in paths:
            for sentence in read_conllu(path):
                yield (
                    key,
                    {
                        "sent_id": sentence.sent_id or "",
                        "forms": sentence.forms,
                        "upos": sentence.upos,
                        "heads": sentence.heads,
                        "relations": sentence.relations,
                        "conllu": sentence.source,
                    },
                )
                key += 1

    def _manual_files(self, dl_manager) -> dict[str, list[Path]] | None:
        try:
            folder = Path(dl_manager.manual_dir)
        except AssertionError:  # TFDS: the directory is missing or empty.
            return None
        treebank = self.builder_config.treebank
        if not (folder / treebank).is_dir():
            return None
        return find_treebank(folder / treebank)

    def _download(self, dl_manager) -> dict[str, list[Path]]:
        config = self.builder_config
        release = f"r{self.version.major}.{self.version.minor}"
        urls = {
            part: f"{_URL}/{config.treebank}/{release}/{config.name}-ud-{part}.conllu"
            for part in config.parts
        }
        _check_reachable(next(iter(urls.values())), config.treebank)
        paths = dl_manager.download(urls)
        files: dict[str, list[Path]] = {}
        for part, path in paths.items():
            files.setdefault(part.split("-")[0], []).append(Path(path))
        return files


def download_treebank(
    treebank: str, *, data_dir: str | os.PathLike, release: str = "2.17"
) -> Path:
    """Fetches one of the paper's treebanks and writes it as a release has it.

    Args:
      treebank: `"UD_Indonesian-CSUI"`, say.
      data_dir: where its folder is put; `TreebankAdaptation` reads it from there.
      release: the UD release.

    Returns:
      the folder.

    Raises:
      ConfigurationError: if the treebank is not one of the six.
      MissingDataError: if there is no network.
    """
    if treebank not in PREFIXES:
        raise ConfigurationError(
            f"treebank must be one of {', '.join(PREFIXES)}. Received: {treebank!r}."
        )
    prefix = PREFIXES[treebank]
    builder = UdTreebank(
        config=prefix,
        version=f"{release}.0",
        data_dir=os.fspath(Path(data_dir, "tfds")),
    )
    builder.download_and_prepare()
    folder = Path(data_dir, treebank)
    for part in builder.info.splits:
        # One shard after another: the order of the file.
        read_config = tfds.ReadConfig(interleave_cycle_length=1)
        dataset = builder.as_dataset(split=part, read_config=read_config)
        blocks = tfds.as_numpy(dataset)
        text = "".join(example["conllu"].decode("utf-8") for example in blocks)
        path = folder / f"{prefix}-ud-{part}.conllu"
        write_conllu(path, parse_conllu(text, path=os.fspath(path)))
    return folder


def _check_reachable(url: str, treebank: str) -> None:
    """Fails at once without a network; TFDS itself would try for minutes."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError):
            reason = f"{url}: {error}; the release may not have this file"
        else:
            reason = f"{url} cannot be reached ({error})"
        raise MissingDataError(
            f"Treebank {treebank}: {reason}. Without a network, put the files there "
            "yourself (TFDS: into MANUAL_DIR):\n"
            + expected_files(treebank, "MANUAL_DIR")
        ) from None
