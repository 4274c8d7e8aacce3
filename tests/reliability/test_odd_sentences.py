"""Sentences that are valid and unlike others are trained on, parsed and written."""

import gzip
import io
import string

import keras
import numpy as np
import pytest

import tfnes
from tfnes.datasets import read_conllu, read_tokens, write_conllu
from tfnes.datasets.vocabulary import Vocabulary
from tfnes.errors import DataError
from tfnes.experiments.evaluation import TreePredictor, sentence_batches

pytestmark = pytest.mark.reliability

SCRIPTS = (
    "кошка спит . η γάτα κοιμάται · 猫が 眠る 。 القطة نائمة . חתול ישן . बिल्ली सोती है "
    "แมว นอน 고양이 잔다 კატა სძინავს ድመት ተኝታለች 🙂 "
    "👩‍👩‍👧 e\u0301 ﬁ \U00020000 \u200b \ufffd"
)


def conllu(words, *, end="\n"):
    """Returns one sentence, each word the head of the next."""
    rows = [
        "\t".join([str(i), word, "_", "X", "_", "_", str(i - 1), relation, "_", "_"])
        for i, word in enumerate(words, 1)
        for relation in ["root" if i == 1 else "dep"]
    ]
    return end.join([*rows, "", ""])


SENTENCES = {
    "one word": ["cat"],
    "many words": [string.ascii_lowercase[i % 26] for i in range(100)],
    "words with blanks": ["New York", "is", "10 000", "miles", "\u00a0", "away"],
    "every script": SCRIPTS.split(),
    "names of the specials": ["<unk>", "<root>", "<init>", "<pad>", "_", "-LRB-"],
    "a word of 10,000 letters": ["x" * 10_000, "y"],
    "numbers and signs": ["1e400", "nan", "%s", "{0}", "\\", '"', "'", "#", "="],
}


@pytest.fixture(scope="module", autouse=True)
def more_words(thorough):
    if thorough:
        SENTENCES["many words"] *= 5


@pytest.fixture(scope="module")
def parser(more_words):
    """A parser that has learned from all of these sentences."""
    with tfnes.solvers.use_jit_compile(False):
        text = "".join(conllu(words) for words in SENTENCES.values())
        sentences = tfnes.datasets.parse_conllu(text)
        keras.utils.set_random_seed(0)
        model = tfnes.models.Parser(
            tfnes.structures.DependencyTree(),
            embedding_size=4,
            hidden_size=4,
            scorer_size=4,
            decoder_size=4,
            vocabulary=Vocabulary.build(sentences),
        )
        batches = sentence_batches(model, sentences, batch_size=3, labeled=True)
        model.compile(keras.optimizers.Adam(1e-2), tfnes.estimators.Supervised())
        first = model.fit(batches, epochs=3, verbose=0).history["neg_elbo"]
        assert np.isfinite(first).all()
        assert first[-1] < first[0]
        model.compile(
            keras.optimizers.Adam(1e-2), tfnes.estimators.NES(population_size=2)
        )
        assert np.isfinite(model.fit(batches, verbose=0).history["neg_elbo"]).all()
        yield model


@pytest.fixture(scope="module")
def predict(parser):
    return TreePredictor(parser)


def assert_tree(heads, length):
    assert len(heads) == length
    assert heads.count(0) == 1
    for word in range(1, length + 1):
        for _ in range(length):
            word = heads[word - 1] if word else 0
        assert word == 0


@pytest.mark.parametrize("name", SENTENCES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_of_one_sentence(name, end, predict, tmp_path):
    words = SENTENCES[name]
    text = conllu(words, end=end)
    files = {
        "x.conllu": text.encode(),
        "no_final_newline.conllu": text.rstrip("\r\n").encode(),
        "marked.conllu": ("\ufeff" + text).encode(),
        "x.conllu.gz": gzip.compress(text.encode()),
    }
    for file, data in files.items():
        path = tmp_path / file
        path.write_bytes(data)
        sentences = read_conllu(path)
        assert [s.forms for s in sentences] == [tuple(words)]
        (heads,), (relations,) = predict(sentences)
        assert_tree(heads, len(words))
        assert set(relations) <= {"root", "dep"}
        copy = tmp_path / f"copy-{file}"
        write_conllu(copy, sentences, heads=[heads], relations=[relations])
        (parsed,) = read_conllu(copy)
        assert parsed.forms == tuple(words)
        assert parsed.heads == tuple(heads)


def test_raw_text(predict):
    text = "\n \t\ncat\r\n" + SCRIPTS + "\n\u00a0 \u2028\nlast"
    sentences = list(read_tokens(io.StringIO(text, newline="\n")))
    assert [len(s) for s in sentences] == [1, len(SCRIPTS.split(" ")), 2, 1]
    heads, _ = predict(sentences)
    for row, sentence in zip(heads, sentences, strict=True):
        assert_tree(row, len(sentence))


def test_no_sentence(predict, tmp_path):
    path = tmp_path / "empty.conllu"
    write_conllu(path, [])
    with pytest.raises(DataError, match="holds no sentence"):
        read_conllu(path)
    assert predict([]) == ([], [])
