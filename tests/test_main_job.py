"""The main job at toy size: train, then evaluate and predict with the saved run."""

import io
import json
import subprocess
import sys

import pytest

from tfnes import evaluate, predict, train
from tfnes.datasets import DemoTreebank, read_conllu

SIZES = [
    "DemoTreebank.source_train = 80",
    "DemoTreebank.source_dev = 20",
    "DemoTreebank.source_test = 10",
    "DemoTreebank.target_train = 16",
    "DemoTreebank.target_dev = 10",
    "DemoTreebank.target_test = 20",
    "DemoTreebank.vector_dimension = 16",
    "Parser.embedding_size = 16",
    "Parser.hidden_size = 16",
    "Parser.scorer_size = 16",
    "Parser.decoder_size = 16",
    "PRETRAIN_EPOCHS = 4",
    "PRETRAIN_LEARNING_RATE = 0.02",
    "ADAPT_EPOCHS = 1",
    "ADAPT_BATCH_SIZE = 8",
    "POPULATION_SIZE = 4",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("main_job") / "run"
    arguments = ["--gin_file=gin_configs/parser_nes.gin", f"--output_dir={path}"]
    assert train.main([*arguments, *(f"--gin_param={b}" for b in SIZES)]) == 0
    return path


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    data = DemoTreebank(
        source_train=2, target_train=2, source_dev=2, source_test=2, target_dev=2
    )
    folder = tmp_path_factory.mktemp("gold")
    return data.write_conllu(folder)["target_test"]


def scores(run):
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def test_the_table_has_all_that_it_promises(run, capfd):
    arguments = ["--gin_file=gin_configs/parser_nes.gin", f"--output_dir={run}"]
    assert train.main([*arguments, *(f"--gin_param={b}" for b in SIZES)]) == 0
    out, _ = capfd.readouterr()
    for word in (
        "source_dev",
        "target_test",
        "uas",
        "las",
        "neg_elbo",
        "right-branching",
        "left-branching",
        "after pretrain",
        "after adapt",
        "time:",
        str(run),
    ):
        assert word in out, word


def test_training_beats_the_baselines(run):
    results = scores(run)
    trained = results["phases"]["pretrain"]["source_dev"]["uas"]
    assert trained > max(results["baselines"]["source_dev"].values()) + 0.1


def test_evaluate_repeats_the_run_s_numbers(run, capfd):
    assert evaluate.main([f"--run={run}"]) == 0
    out, _ = capfd.readouterr()
    path = out.split("JSON: ")[1].strip()
    with open(path, encoding="utf-8") as file:
        repeated = json.load(file)
    numbers = scores(run)["phases"]["adapt"]
    assert list(repeated) == list(numbers) == ["source_dev", "target_test"]
    for split, values in numbers.items():
        assert repeated[split] == pytest.approx(values)


def test_predictions_are_scored_as_the_official_scorer_does(run, tmp_path):
    gold_file = tmp_path / "gold.conllu"
    data = DemoTreebank(
        **{
            name.split(".")[1].split(" ")[0]: int(name.split("=")[1])
            for name in SIZES
            if name.startswith("DemoTreebank")
        }
    )
    from tfnes.datasets import write_conllu

    write_conllu(gold_file, data.sentences("target_test"))
    predicted = run / "predictions" / "target_test.conllu"
    pytest.importorskip("udtools")
    code = "from udtools.cli import main_eval; main_eval()"
    official = subprocess.run(
        [sys.executable, "-c", code, "-v", str(gold_file), str(predicted)],
        capture_output=True,
        text=True,
        check=True,
    )
    mine = scores(run)["phases"]["adapt"]["target_test"]
    for name in ("UAS", "LAS"):
        line = next(x for x in official.stdout.splitlines() if x.startswith(f"{name} "))
        f1 = float(line.split("|")[3])
        assert 100 * mine[name.lower()] == pytest.approx(f1, abs=0.005)


def test_evaluate_and_predict_agree_on_a_file(run, gold, tmp_path, capfd):
    output = tmp_path / "numbers.json"
    arguments = [f"--run={run}", f"--input={gold}", f"--output={output}"]
    assert evaluate.main(arguments) == 0
    numbers = json.loads(output.read_text(encoding="utf-8"))[str(gold)]
    parsed = tmp_path / "parsed.conllu"
    arguments = [f"--run={run}", f"--input={gold}", f"--output={parsed}"]
    assert predict.main(arguments) == 0
    pairs = [
        (a, b)
        for x, y in zip(read_conllu(gold), read_conllu(parsed), strict=True)
        for a, b in zip(x.heads, y.heads, strict=True)
    ]
    share = sum(a == b for a, b in pairs) / len(pairs)
    assert numbers["uas"] == pytest.approx(share, abs=1e-9)


TEXT = """\
# newdoc id = d
# sent_id = s1
# text = Vámonos ya
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
1\tVamos\tir\tVERB\tV\tMood=Imp\t0\troot\t0:root\tA=1
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t1:obj\t_
2.1\tfuera\tfuera\tADV\t_\t_\t_\t_\t1:advmod\tCopyOf=1
3\tya\tya\tADV\tR\t_\t1\tadvmod\t1:advmod\t_

# sent_id = s2
1\tYa\t_\t_\t_\t_\t_\t_\t_\t_

"""


def test_predict_keeps_everything_but_the_tree(run, tmp_path, capfd):
    (tmp_path / "x.conllu").write_text(TEXT, encoding="utf-8")
    assert predict.main([f"--run={run}", f"--input={tmp_path / 'x.conllu'}"]) == 0
    out, _ = capfd.readouterr()

    def without_tree(text):
        rows = [line.split("\t") for line in text.split("\n")]
        return [
            row[:6] + row[8:] if len(row) == 10 and row[0].isdecimal() else row
            for row in rows
        ]

    assert without_tree(out) == without_tree(TEXT)
    heads = [line.split("\t")[6:8] for line in out.split("\n") if line[:1].isdigit()]
    assert heads[0] == heads[3] == ["_", "_"]
    assert all(head.isdecimal() for head, _ in (heads[1], heads[2], heads[4]))
    assert heads[5] == ["0", heads[5][1]]


def test_predict_reads_tokens_from_standard_input(run, capfd, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO("ein Wort\n\nnoch drei Wörter\n".encode()))
    monkeypatch.setattr(sys, "stdin", stream)
    assert predict.main([f"--run={run}"]) == 0
    out, _ = capfd.readouterr()
    from tfnes.datasets import parse_conllu

    sentences = parse_conllu(out)
    assert [s.forms for s in sentences] == [("ein", "Wort"), ("noch", "drei", "Wörter")]


def test_predict_draws_trees_of_a_split(run, tmp_path, capfd):
    pictures = tmp_path / "pictures"
    arguments = [f"--run={run}", "--split=target_test", f"--pictures={pictures}"]
    assert predict.main([*arguments, "--num_pictures=2"]) == 0
    assert capfd.readouterr().out == ""
    drawn = sorted(pictures.iterdir())
    assert [path.name[:3] for path in drawn] == ["001", "002"]
    text = drawn[0].read_text(encoding="utf-8")
    assert "<svg" in text
    assert "gold below" in text
    assert predict.main([*arguments, "--split=dev"]) == 2
    assert predict.main([*arguments, "--input=x.conllu"]) == 2


def test_pictures_and_texts_are_in_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_log = EventAccumulator(str(run / "train")).Reload()
    validation = EventAccumulator(str(run / "validation")).Reload()
    assert set(train_log.Tags()["tensors"]) >= {
        "configuration",
        "operative_configuration",
        "pretrain/neg_elbo",
        "adapt/neg_elbo",
        "adapt/evaluations_per_second",
        "adapt/population_std",
    }
    (text,) = train_log.Tensors("configuration")[0].tensor_proto.string_val
    assert b"adapt/Phase.estimator = @NES()" in text
    tags = set(validation.Tags()["tensors"])
    assert tags >= {
        "source_dev/uas",
        "source_dev/las",
        "source_dev/log_potentials",
        "source_dev/fitness",
        "handed_on/target_test/uas",
        "trees/1",
    }
    # A population has losses in the second phase alone.
    assert len(validation.Tensors("source_dev/log_potentials")) == 5
    assert len(validation.Tensors("source_dev/fitness")) == 1
    steps = [event.step for event in validation.Tensors("source_dev/uas")]
    assert steps == sorted(set(steps))
    assert len(steps) == 5


def test_hyperparameters_are_in_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    log = EventAccumulator(str(run)).Reload()
    content = log.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    assert values["POPULATION_SIZE"].number_value == 4
    assert values["SIGMA"].number_value == 0.1
    assert values["adapt/Phase.estimator"].string_value == "@NES()"
    assert "NES.population_size" not in values  # refers to the macro


def test_a_split_that_is_not_there(run, capfd):
    assert evaluate.main([f"--run={run}", "--split=dev"]) == 2
    assert "target_test" in capfd.readouterr().err


def test_gold_trees_are_needed_to_evaluate(run, capfd):
    assert evaluate.main([f"--run={run}", "--split=target_train"]) == 3
    assert "no trees" in capfd.readouterr().err
