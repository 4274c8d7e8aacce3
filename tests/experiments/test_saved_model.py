"""A run that starts from the model of another run."""

import csv

import keras
import pytest

from tfnes.errors import RunDirectoryError
from tfnes.experiments.saved_run import load_best_model


def history(run):
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_training_goes_on_from_the_model_of_another_run(tmp_path, train_toy):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train_toy(first, "--gin_param=train.phases = [@first/Phase()]")[0] == 0
    status, out, _ = train_toy(
        second,
        "--gin_param=train.model = @saved_model()",
        f"--gin_param=saved_model.run = {str(first)!r}",
        "--gin_param=train.phases = [@second/Phase()]",
    )
    assert status == 0
    rows = history(second)
    # It is a candidate for the best model, and its updates are counted on.
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    best = min(float(row["validation/neg_elbo"]) for row in history(first))
    assert float(rows[0]["validation/neg_elbo"]) == pytest.approx(best, rel=1e-6)
    assert int(rows[1]["step"]) == int(rows[0]["step"]) + 10
    assert int(rows[0]["step"]) > 0
    assert "after second" in out


def test_without_a_model_it_says_so(tmp_path, train_toy):
    status, _, err = train_toy(
        tmp_path / "run",
        "--gin_param=train.model = @saved_model()",
        f"--gin_param=saved_model.run = {str(tmp_path / 'nowhere')!r}",
    )
    assert status == 4
    assert "best.keras does not exist" in err


@pytest.mark.reliability
def test_a_model_with_code_in_it_is_refused(tmp_path):
    code = keras.layers.Lambda(lambda x: print("run") or x)
    keras.Sequential([keras.Input((1,)), code]).save(tmp_path / "best.keras")
    with pytest.raises(RunDirectoryError, match="cannot be loaded"):
        load_best_model(tmp_path)
