"""The TFDS builder reads manual files, downloads, and fails at once offline."""

import contextlib
import functools
import http.server
import subprocess
import sys
import threading
import time

import pytest

from tfnes.datasets import DemoTreebank, TreebankAdaptation
from tfnes.errors import ConfigurationError, MissingDataError

tfds = pytest.importorskip("tensorflow_datasets")
ud_treebank = pytest.importorskip("tfnes.datasets.ud_treebank")

NAME = "UD_Indonesian-CSUI"


@pytest.fixture
def files(tmp_path):
    """Generated files under the names of a real treebank."""
    folder = tmp_path / "files" / NAME
    written = DemoTreebank(source_train=12, vector_dimension=0).write_conllu(tmp_path)
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        written[f"source_{part}"].rename(folder / f"id_csui-ud-{part}.conllu")
    return folder.parent


@contextlib.contextmanager
def server(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}"
        finally:
            httpd.shutdown()
            thread.join()


def test_manual_files(files, tmp_path):
    builder = tfds.builder("ud_treebank/id_csui", data_dir=tmp_path / "tfds")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=files)
    )
    assert {s: i.num_examples for s, i in builder.info.splits.items()} == {
        "train": 12,
        "test": 150,
    }
    examples = list(tfds.as_numpy(builder.as_dataset(split="train")))
    path = files / NAME / "id_csui-ud-train.conllu"
    assert b"".join(e["conllu"] for e in examples) == path.read_bytes()
    assert examples[0]["heads"].shape == examples[0]["forms"].shape


def test_download_writes_the_official_layout(files, tmp_path, monkeypatch):
    release = files / NAME / "r2.17"
    release.mkdir()
    for path in (files / NAME).glob("*.conllu"):
        path.rename(release / path.name)
    with server(files) as url:
        monkeypatch.setattr(ud_treebank, "_URL", url)
        folder = ud_treebank.download_treebank(NAME, data_dir=tmp_path / "data")
    for path in release.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    data = TreebankAdaptation(source=NAME, target=NAME, data_dir=tmp_path / "data")
    assert data.num_examples("target_train") == 12


def test_without_a_network_the_message_comes_at_once(tmp_path, monkeypatch):
    with server(tmp_path) as url:
        closed = url
    monkeypatch.setattr(ud_treebank, "_URL", closed)
    start = time.monotonic()
    with pytest.raises(
        MissingDataError, match=r"cannot be reached(.|\n)*id_csui-ud-tr"
    ):
        ud_treebank.download_treebank(NAME, data_dir=tmp_path / "data")
    assert time.monotonic() - start < 30
    with pytest.raises(ConfigurationError, match="treebank must be one of"):
        ud_treebank.download_treebank("UD_Klingon", data_dir=tmp_path)


def test_the_package_does_not_import_tfds():
    code = "import sys, tfnes.datasets; print('tensorflow_datasets' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "False"
