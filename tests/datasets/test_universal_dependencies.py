"""Source and target treebanks: splits, vocabularies and decisions that are told."""

import logging
import shutil

import gin
import pytest

from tfnes.datasets import TreebankAdaptation, normalize
from tfnes.errors import ConfigurationError, DataError, MissingDataError

SOURCE, TARGET = "UD_Demo-Source", "UD_Demo-Target"


@pytest.fixture
def release(demo_files, tmp_path):
    """A copy of the demo's files that a test may change."""
    shutil.copytree(demo_files, tmp_path / "release")
    return tmp_path / "release"


def adapt(data_dir, **kwargs):
    kwargs = {"source": SOURCE, "target": TARGET, **kwargs}
    return TreebankAdaptation(data_dir=data_dir, **kwargs)


def names(data, split):
    return [sentence.sent_id for sentence in data.sentences(split)]


def test_official_splits_are_taken_as_they_are(demo, demo_files):
    data = adapt(demo_files)
    assert data.splits == demo.splits
    for split in data.splits:
        assert names(data, split) == names(demo, split)
        assert data.num_examples(split) == demo.num_examples(split)
    assert data.vocabulary.words == demo.vocabulary.words
    assert data.vocabulary.counts == demo.vocabulary.counts
    assert data.notes == []
    assert data.num_batches("target_test", batch_size=32) == 7
    assert data.num_batches("target_test", batch_size=32, drop_remainder=True) == 6


def test_target_training_trees_are_withheld(demo_files):
    data = adapt(demo_files)
    keys = {
        split: set(data.get_dataset(split, batch_size=8).element_spec)
        for split in data.splits
    }
    text = {"words", "lengths", "punctuation", "index"}
    assert keys.pop("target_train") == text
    assert all(found == text | {"heads", "relations"} for found in keys.values())
    trees = next(iter(data.get_dataset("target_test", batch_size=200)))
    gold = data.sentences("target_test")
    for i, heads, n in zip(
        trees["index"].numpy(), trees["heads"].numpy(), trees["lengths"], strict=True
    ):
        assert tuple(heads[:n]) == gold[i].heads


def test_a_missing_dev_file_is_cut_from_train_by_seed(release, demo):
    (release / SOURCE / "demo_source-ud-dev.conllu").unlink()
    first, again, other = (adapt(release, seed=seed) for seed in (1, 1, 2))
    train, dev = names(first, "source_train"), names(first, "source_dev")
    assert len(dev) == 75 and sorted(train + dev) == sorted(names(demo, "source_train"))
    assert names(again, "source_dev") == dev != names(other, "source_dev")
    assert len(names(adapt(release, dev_fraction=0.5), "source_dev")) == 250
    assert "75 sentences (15%) of demo_source-ud-train.conllu" in first.describe()


@pytest.mark.parametrize("domain", ["source", "target"])
def test_a_missing_training_file_is_never_replaced_silently(domain, release):
    folder = release / {"source": SOURCE, "target": TARGET}[domain]
    (folder / f"demo_{domain}-ud-train.conllu").unlink()
    with pytest.raises(MissingDataError, match=f"{domain} treebank .*missing_train="):
        adapt(release)
    data = adapt(release, missing_train="dev")
    assert f"{domain}_train is the DEV file" in data.describe()
    if domain == "target":
        assert "target_dev" not in data.splits
        assert data.num_examples("target_train") == 200
    else:
        assert data.num_examples("source_train") == 128
        assert data.num_examples("source_dev") == 22
    (folder / f"demo_{domain}-ud-dev.conllu").unlink()
    with pytest.raises(MissingDataError, match="Test files are not trained on"):
        adapt(release, missing_train="dev")


def test_everything_missing_is_told_in_one_error(tmp_path, monkeypatch):
    monkeypatch.delenv("TFNES_DATA_DIR", raising=False)
    with pytest.raises(MissingDataError) as error:
        adapt(tmp_path, vectors="no.vec")
    for part in (SOURCE, TARGET, "no.vec", "universaldependencies.org"):
        assert part in str(error.value)


def test_a_fault_in_any_file_stops_the_start(release):
    path = release / TARGET / "demo_target-ud-test.conllu"
    text = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(line.replace("\t0\t", "\t99\t") for line in text), "utf-8")
    with pytest.raises(DataError, match=r"demo_target-ud-test.conllu, line .* HEAD"):
        adapt(release)


def test_target_text_without_trees_is_enough(release):
    path = release / TARGET / "demo_target-ud-train.conllu"
    lines = [line.split("\t") for line in path.read_text("utf-8").split("\n")]
    bare = ["\t".join([*c[:6], "_", "_", *c[8:]]) if c[9:] else c[0] for c in lines]
    path.write_text("\n".join(bare), "utf-8")
    data = adapt(release)
    assert data.sentences("target_train")[0].heads is None
    assert data.num_examples("target_train") == 400


def test_long_sentences_leave_training_but_never_test(demo_files, caplog):
    with caplog.at_level(logging.WARNING):
        data = adapt(
            demo_files, max_source_length=12, max_target_length=14, max_length=20
        )
    longest = {
        split: max(map(len, data.sentences(split))) for split in data.splits
    }  # fmt: skip
    assert longest["source_train"] == 12 and longest["target_train"] == 14
    assert longest["source_dev"] == longest["target_dev"] == 20
    assert longest["source_test"] > 30 and longest["target_test"] > 30
    whole = adapt(demo_files)
    dropped = [s.sent_id for s in whole.sentences("source_train") if len(s) > 12]
    note = f"source_train: {len(dropped)} of 500 sentences have more than 12 words"
    assert note in caplog.text and ", ".join(dropped[:3]) + ", ..." in data.describe()
    with pytest.raises(DataError, match="no sentence has at most 1 words"):
        adapt(demo_files, max_source_length=1)


def test_vocabularies(demo_files):
    train, source, everything = (
        adapt(demo_files, vocabulary=name) for name in ("train", "source", "all_files")
    )

    def words(data, split):
        return {normalize(f) for s in data.sentences(split) for f in s.forms}

    def known(data):
        return set(data.vocabulary.words) - {"<unk>", "<root>"}

    text = words(train, "source_train")
    assert known(source) == text
    assert known(train) == text | words(train, "target_train")
    assert known(everything) == known(train) | words(train, "source_dev") | words(
        train, "target_test"
    )
    assert words(train, "target_test") - known(train), "the test is not looked at"
    counts = dict(zip(train.vocabulary.words, train.vocabulary.counts, strict=True))
    assert counts["<root>"] == 500 and counts["."] == 500
    assert {word for word in known(train) if counts[word] == 0} == known(train) - text
    assert everything.vocabulary.counts[1] == 500 + 150 + 200 + 400


def test_external_vectors(demo_files, tmp_path):
    data = adapt(demo_files)
    split = {s: [f for x in data.sentences(s) for f in x.forms] for s in data.splits}
    tested = sorted(set(split["target_test"]) - set(data.vocabulary.words))[0]
    path = tmp_path / "tiny.vec"
    path.write_text(f"EL 0 0\n. 1 2\n{tested} 3 4\nnobody 5 6\n")
    vocabulary = adapt(demo_files, vectors=path).vocabulary
    assert vocabulary.external_words == ["<unk>", "<root>", "<init>", "."]
    assert vocabulary.vectors[3].tolist() == [1.0, 2.0]
    more = adapt(demo_files, vectors=path, vector_words="all_files")
    assert more.vocabulary.external_words[3:] == [".", tested]
    frequent = adapt(demo_files, vectors=path, most_frequent_vectors=1)
    assert frequent.vocabulary.external_words[3:] == ["EL", "."]
    authors = adapt(demo_files, vectors=path, vocabulary="all_files")
    assert authors.vocabulary.external_words[3:] == [".", tested]
    assert "external" in authors.get_dataset("source_dev", batch_size=2).element_spec
    path.write_text("nobody 5 6\n")
    with pytest.raises(DataError, match=r"none of the treebanks' .* another language"):
        adapt(demo_files, vectors=path)


def test_configuration_and_gin(demo_files):
    data = adapt(demo_files, max_source_length=20)
    assert TreebankAdaptation.from_config(data.get_config()).describe() == (
        data.describe()
    )
    gin.clear_config()
    gin.parse_config(
        f"""
        TreebankAdaptation.source = {{'train': '{demo_files}/{SOURCE}/demo_source-ud-train.conllu'}}
        TreebankAdaptation.target = '{TARGET}'
        TreebankAdaptation.data_dir = '{demo_files}'
        """  # noqa: E501
    )
    configured = gin.get_configurable(TreebankAdaptation)()
    gin.clear_config()
    assert configured.splits == (
        "source_train", "source_dev", "target_train", "target_dev", "target_test",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": "test"}, "vocabulary must be one of .*'test'"),
        ({"vector_words": "x"}, "vector_words must be one of"),
        ({"missing_train": "test"}, "missing_train must be one of"),
        ({"dev_fraction": 1.5}, "dev_fraction must be .* above 0 and below 1"),
    ],
)
def test_wrong_settings(change, message, demo_files):
    with pytest.raises(ConfigurationError, match=message):
        adapt(demo_files, **change)
    with pytest.raises(ConfigurationError, match=r"no split 'test'. Splits: source_tr"):
        adapt(demo_files).get_dataset("test", batch_size=1)


def test_real_treebanks(real_data):
    data = TreebankAdaptation(
        source="UD_Indonesian-CSUI",
        target="UD_Indonesian-GSD",
        data_dir=real_data,
        vectors="vectors/id.100.vec",
        missing_train="dev",
        max_length=30,
    )
    # 447 is the number of the reference measurements with the same limit.
    assert data.num_examples("target_train") == 447
    assert data.num_examples("target_test") == 557
    assert data.num_examples("source_train") + data.num_examples("source_dev") == 421
    assert data.vocabulary.vectors.shape[1] == 100
    batch = next(iter(data.get_dataset("target_test", batch_size=4)))
    assert batch["words"].shape == (4, 168) and int(batch["lengths"][0]) == 161
