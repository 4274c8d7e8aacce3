"""Where nothing can be written, a run ends plainly, and goes on once it can."""

import shutil

import pytest
from test_resume import assert_same_run

from tfnes.errors import StorageError

pytestmark = pytest.mark.reliability


def leftovers(run):
    """Returns the files of writes that were not completed."""
    complete = {file.stem for file in run.glob("checkpoints/*.index")}
    parts = list(run.rglob(".writing-*"))
    for file in run.glob("checkpoints/*"):
        if file.name.partition(".")[0] not in complete:
            parts.append(file)
    return parts


def test_a_full_disk(undisturbed, tmp_path, train_toy, train_toy_until):
    run = tmp_path / "run"
    process = train_toy_until(run, update=25, what="FULL")
    assert process.returncode == StorageError.exit_code, process.stderr
    assert "Traceback" not in process.stderr
    assert f"Error: {run}" in process.stderr
    assert "cannot be written" in process.stderr
    assert "the same command" in process.stderr
    assert not leftovers(run)
    status, _, err = train_toy(run)
    assert status == 0
    assert "Resuming: phase second, 0 of 3 epochs done, 3 updates of the next" in err
    assert_same_run(run, undisturbed)


def test_a_run_directory_that_goes(undisturbed, tmp_path, train_toy, train_toy_until):
    run = tmp_path / "run"
    process = train_toy_until(run, update=25, what="GONE")
    assert process.returncode == StorageError.exit_code, process.stderr
    assert "Traceback" not in process.stderr
    assert f"Error: {run} has gone" in process.stderr
    # Nothing was begun where it was, but what TensorBoard's writer makes by itself.
    assert not (run / "checkpoints").exists()
    assert not (run / "history.csv").exists()
    shutil.rmtree(run, ignore_errors=True)
    moved = tmp_path / "run-moved"
    assert train_toy(moved)[0] == 0
    assert_same_run(moved, undisturbed)


def test_what_a_kill_left_of_a_checkpoint_is_removed(
    undisturbed, tmp_path, train_toy, train_toy_until
):
    run = tmp_path / "run"
    train_toy_until(run, update=8)
    # As a process leaves them that is killed while it writes.
    (run / "checkpoints" / "state-000099.data-00000-of-00001").write_bytes(b"part")
    (run / "checkpoints" / "state-000098_temp").mkdir()
    (run / ".writing-x-best.keras").write_bytes(b"part")
    (run / "predictions").mkdir(exist_ok=True)
    (run / "predictions" / ".writing-y-test.conllu").write_bytes(b"part")
    assert len(leftovers(run)) == 4
    assert train_toy(run)[0] == 0
    assert not leftovers(run)
    assert_same_run(run, undisturbed)
