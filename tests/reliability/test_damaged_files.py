"""Damaged files are refused with their place named, or read as what they say."""

import gzip

import pytest
from hypothesis import event, given
from mutations import damaged

from tfnes.datasets import (
    DemoTreebank,
    read_conllu,
    read_word_vectors,
    write_conllu,
)
from tfnes.errors import DataError

pytestmark = pytest.mark.reliability

EVERYTHING = """\
# sent_id = all-1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\tCase=Acc\t1\tobj\t_\t_
2.1\tya\tya\tADV\t_\t_\t_\t_\t1:advmod\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\t_

# sent_id = all-2
1\tnew york\t_\tPROPN\t_\t_\t0\troot\t_\t_
2\t🙂\t_\tSYM\t_\t_\t1\tdiscourse\t_\t_

"""


def conllu_files():
    data = DemoTreebank(source_train=4, source_dev=1, target_train=1, target_test=1)
    demo = "".join(s.to_conllu() for s in data.sentences("source_train"))
    return [EVERYTHING.encode(), demo.encode()]


VECTORS = [
    b"3 2\nthe 0.5 -1\ncat 1e-3 2\n\xc3\xa9t\xc3\xa9 3 4\n",
    b"the 0.5 -1 2\ncat 1 2 3\n",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@given(data=damaged(conllu_files()))
def test_conllu_is_read_as_written_or_refused(folder, data):
    path = folder / "x.conllu"
    path.write_bytes(data)
    for gold in (True, False):
        try:
            sentences = read_conllu(path, gold=gold)
        except DataError as error:
            assert str(error).startswith(str(path))
            event("refused")
            continue
        event("read")
        copy = folder / "copy.conllu"
        write_conllu(copy, sentences)
        assert copy.read_bytes() == data
        for sentence in sentences:
            assert len(sentence) >= 1
            if sentence.heads is not None:
                assert sorted(sentence.heads).count(0) == 1
                assert max(sentence.heads) <= len(sentence)
    assert {file.name for file in folder.iterdir()} <= {"x.conllu", "copy.conllu"}


@given(data=damaged([gzip.compress(file, mtime=0) for file in conllu_files()]))
def test_compressed_conllu_is_read_or_refused(folder, data):
    path = folder / "x.conllu.gz"
    path.write_bytes(data)
    try:
        read_conllu(path)
        event("read")
    except DataError as error:
        assert str(error).startswith(str(path))
        event("refused")
    path.unlink()


@given(data=damaged(VECTORS))
def test_vectors_are_finite_or_refused(folder, data):
    path = folder / "x.vec"
    path.write_bytes(data)
    try:
        words, vectors = read_word_vectors(path)
    except DataError as error:
        assert str(error).startswith(str(path))
        event("refused")
    else:
        event("read")
        assert vectors.shape[0] == len(words)
        assert abs(vectors).max(initial=0) < float("inf")
    path.unlink()
