"""The reader of `.vec` files keeps what is needed and tells where a fault is."""

import gzip

import numpy as np
import pytest

from tfnes.datasets import read_word_vectors
from tfnes.datasets.word_vectors import special_vectors
from tfnes.errors import DataError, MissingDataError

GOOD = "3 2\nthe 1 2\ncat -1e-3 .5\nthe 9 9\n"


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("suffix", [".vec", ".vec.gz"])
@pytest.mark.parametrize("newline", ["\n", " \n", "\r\n"])
def test_reads_all_and_some(header, suffix, newline, tmp_path):
    text = GOOD if header else GOOD.split("\n", 1)[1]
    data = text.replace("\n", newline).encode()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    everything = read_word_vectors(path)
    assert everything.words == ["the", "cat"]
    np.testing.assert_array_equal(
        everything.vectors, np.array([[1, 2], [-1e-3, 0.5]], np.float32)
    )
    assert read_word_vectors(path, words={"cat", "dog"}).words == ["cat"]
    some = read_word_vectors(path, words={"cat"}, most_frequent=1, dimension=2)
    assert some.words == ["the", "cat"]
    assert read_word_vectors(path, words=()).vectors.shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\nthe 1 2 3\n", "line 2: a word and 2 numbers were expected, but 3"),
        ("the 1 2\ncat 1\n", "line 2: a word and 2 numbers were expected, but 1"),
        ("1 2\nthe 1 x\n", "line 2: could not convert .*'the'"),
        ("1 2\nthe 1 nan\n", "line 2: a number is not finite"),
        ("9 2\nthe 1 2\n", "line 2: the first line promises 9 words, .* after 1"),
        ("1 3\nthe 1 2 3\n", "line 1: vectors of dimension 2 were expected"),
        ("the\n", "line 1: expected 'WORD NUMBER"),
        ("", "the file is empty"),
    ],
)
def test_faults_name_file_and_line(text, message, tmp_path):
    path = tmp_path / "bad.vec"
    path.write_text(text)
    dimension = 2 if text.startswith("1 3") else None
    with pytest.raises(DataError, match=f"bad.vec.*{message}"):
        read_word_vectors(path, dimension=dimension)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingDataError, match="vectors=None"):
        read_word_vectors(tmp_path / "no.vec")
    cut = tmp_path / "cut.vec.gz"
    cut.write_bytes(gzip.compress(GOOD.encode())[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        read_word_vectors(cut)


def test_real_vectors(real_data):
    path = real_data / "vectors" / "id.100.vec"
    vectors = read_word_vectors(path, words={"yang", "Jakarta", "no-such-word"})
    assert sorted(vectors.words) == ["Jakarta", "yang"]
    assert vectors.vectors.shape == (2, 100)
    line = next(x for x in path.open(encoding="utf-8") if x.startswith("Jakarta "))
    expected = np.array(line.split()[1:], np.float32)
    np.testing.assert_array_equal(
        vectors.vectors[vectors.words.index("Jakarta")], expected
    )


def test_special_vectors_are_uniform_and_stateless():
    rows = special_vectors(3000, seed=5)
    np.testing.assert_array_equal(rows, special_vectors(3000, seed=5))
    assert (rows != special_vectors(3000, seed=6)).all()
    bound = np.sqrt(3 / 3000)
    assert np.abs(rows).max() <= bound
    # U(-b, b) has mean 0 and variance b^2 / 3; nine thousand numbers.
    assert abs(rows.mean()) < 5 * bound / np.sqrt(3 * rows.size)
    assert abs(rows.var() / (bound**2 / 3) - 1) < 0.05
