"""Where a run may lie, what its files may do, and who may read them."""

import concurrent.futures
import os
import stat

import pytest

from tfnes.datasets import DemoTreebank, TreebankAdaptation
from tfnes.experiments import configuration
from tfnes.files import write_text

pytestmark = pytest.mark.reliability

STRANGE = "with blanks, ünïcode 木 🙂 'quotes' and $HOME"


def modes(folder):
    """Returns the permissions of all files, and of all folders."""
    paths = list(folder.rglob("*"))
    files = {stat.S_IMODE(p.stat().st_mode) for p in paths if p.is_file()}
    folders = {stat.S_IMODE(p.stat().st_mode) for p in paths if p.is_dir()}
    return files, folders


def test_runs_in_strange_places(tmp_path, train_toy):
    real = tmp_path / STRANGE
    real.mkdir()
    (tmp_path / "link").symlink_to(real, target_is_directory=True)
    run = tmp_path / "link" / ".." / "link" / "a run"
    one_phase = "--gin_param=train.phases = [@first/Phase()]"
    before = os.umask(0o027)
    try:
        status, out, _ = train_toy(run, one_phase)
    finally:
        os.umask(before)
    assert status == 0
    assert "after first" in out
    assert (real / "a run" / "metrics.json").is_file()
    # By its other name it is the same run.
    status, _, err = train_toy(real / "a run", one_phase)
    assert status == 0
    assert "this run is finished" in err
    # The user's umask says who may read: nothing is more private, or less.
    files, folders = modes(real / "a run")
    assert files == {0o640}
    assert folders == {0o750}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", STRANGE]


def test_links_and_pipes_stay_what_they_are(tmp_path):
    target, link, pipe = (tmp_path / name for name in ("target", "link", "pipe"))
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    os.mkfifo(pipe)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text)
        write_text(pipe, "through it")
        assert read.result(timeout=60) == "through it"
    assert pipe.is_fifo()
    assert len(list(tmp_path.iterdir())) == 3


def test_data_and_configurations_in_strange_places(tmp_path):
    sizes = ("source_train", "source_dev", "source_test")
    sizes += ("target_train", "target_dev", "target_test")
    data = DemoTreebank(**dict.fromkeys(sizes, 4))
    real = tmp_path / STRANGE
    data.write_conllu(real)
    data.write_vectors(real / "x.vec")
    (tmp_path / "link").symlink_to(real, target_is_directory=True)
    again = TreebankAdaptation(
        source="UD_Demo-Source",
        target="UD_Demo-Target",
        data_dir=tmp_path / "link" / ".." / "link",
        vectors=tmp_path / "link" / "x.vec",
    )
    for split in sizes:
        forms = [sentence.forms for sentence in again.sentences(split)]
        assert forms == [sentence.forms for sentence in data.sentences(split)]
    part, whole = real / "part.gin", real / "whole.gin"
    part.write_text("SIGMA = 0.25\n")
    whole.write_text(f"include {str(part)!r}\nNES.sigma = %SIGMA\n")
    configuration.parse([str(tmp_path / "link" / "whole.gin")])
    assert "SIGMA = 0.25" in configuration.describe({})
