"""Reading is strict and tells the place; writing gives back every byte."""

import gzip
import io
import os
import re

import conllu
import pytest

from tfnes.datasets import (
    Sentence,
    parse_conllu,
    read_conllu,
    read_tokens,
    write_conllu,
)
from tfnes.errors import DataError, MissingDataError

RICH = (
    "# newdoc id = d\n# sent_id = a-1\n# text = Da New York no\n"
    "0.1\tei\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1-2\tDa\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n"
    "1\tde\tde\tADP\tIN\tA=b|C=d\t3\tcase\t3:case\t_\n"
    "2\ta\to\tDET\t_\t_\t3\tdet\t_\t_\n"
    "3\tNew York\tNew York\tPROPN\t_\t_\t0\troot\t_\tX=\u2028y\u00a0z\n"
    "3.1\tnon\t_\tADV\t_\t_\t_\t_\t3:dep\t_\n"
    "4\tno\t_\tPUNCT\t_\t_\t3\tpunct:x\t_\t_\n"
    "\n"
)
# Counts of the files' README: sentences, words, multiword tokens, sentences with a
# non-projective arc, longest sentence.
REAL = {
    "UD_Galician-CTG/gl_ctg-ud-dev": (860, 29825, 2802, 37, 64),
    "UD_Galician-CTG/gl_ctg-ud-test": (861, 29790, 2704, 30, 70),
    "UD_Galician-TreeGal/gl_treegal-ud-test": (400, 10112, 788, 43, 145),
    "UD_Galician-TreeGal/gl_treegal-ud-train": (600, 15436, 1271, 66, 117),
    "UD_Indonesian-CSUI/id_csui-ud-test": (374, 10041, 174, 11, 54),
    "UD_Indonesian-CSUI/id_csui-ud-train": (656, 18222, 318, 20, 84),
    "UD_Indonesian-GSD/id_gsd-ud-dev": (559, 12661, 238, 13, 144),
    "UD_Indonesian-GSD/id_gsd-ud-test": (557, 11756, 215, 19, 161),
    "UD_Russian-GSD/ru_gsd-ud-dev": (579, 11709, 0, 33, 107),
    "UD_Russian-GSD/ru_gsd-ud-test": (601, 11385, 0, 34, 201),
    "UD_Russian-Taiga/ru_taiga-ud-dev": (1260, 15624, 0, 84, 92),
    "UD_Russian-Taiga/ru_taiga-ud-test": (1217, 15440, 0, 90, 95),
}


def word(*changes, number=1):
    columns = [str(number), "a", "_", "X", "_", "_", "0", "root", "_", "_"]
    for place, value in changes:
        columns[place] = value
    return "\t".join(columns) + "\n"


def crossing(heads):
    """Whether some word between the ends of an arc is no descendant of its head."""
    above = {0: set()}

    def ancestors(node):
        if node not in above:
            head = heads[node - 1]
            above[node] = ancestors(head) | {head}
        return above[node]

    return any(
        head not in ancestors(between)
        for node, head in enumerate(heads, 1)
        for between in range(min(node, head) + 1, max(node, head))
    )


@pytest.mark.parametrize("name", REAL)
def test_real_files_have_the_published_counts_and_come_back_unchanged(
    name, real_data, tmp_path
):
    path = real_data / "ud" / f"{name}.conllu"
    sentences = read_conllu(path)
    assert REAL[name] == (
        len(sentences),
        sum(map(len, sentences)),
        sum(len(s.other_forms) for s in sentences),
        sum(crossing(s.heads) for s in sentences),
        max(map(len, sentences)),
    )
    copy = tmp_path / "copy.conllu"
    write_conllu(
        copy,
        sentences,
        heads=[s.heads for s in sentences],
        relations=[s.relations for s in sentences],
    )
    assert copy.read_bytes() == path.read_bytes()


def test_agrees_with_the_conllu_package(real_data):
    path = real_data / "ud/UD_Indonesian-CSUI/id_csui-ud-test.conllu"
    ours = read_conllu(path)[:80]
    theirs = conllu.parse(path.read_text("utf-8"))
    for sentence, tokens in zip(ours, theirs, strict=False):
        tokens = [token for token in tokens if isinstance(token["id"], int)]
        assert sentence.forms == tuple(token["form"] for token in tokens)
        assert sentence.upos == tuple(token["upos"] for token in tokens)
        assert sentence.heads == tuple(token["head"] for token in tokens)
        assert sentence.relations == tuple(token["deprel"] for token in tokens)


def test_reads_words_only_and_keeps_the_rest():
    (sentence,) = parse_conllu(RICH)
    assert sentence.forms == ("de", "a", "New York", "no")
    assert sentence.heads == (3, 3, 0, 3)
    assert sentence.relations == ("case", "det", "root", "punct:x")
    assert sentence.sent_id == "a-1"
    assert sentence.other_forms == ("ei", "Da", "non")


@pytest.mark.parametrize(
    "text",
    [
        RICH + RICH.replace("a-1", "a-2"),
        (RICH + RICH.replace("a-1", "a-2")).replace("\n", "\r\n"),
        RICH.rstrip("\n"),
        "\ufeff" + RICH,
        "\n\n" + RICH + "\n\n",
    ],
    ids=["plain", "crlf", "no final newline", "byte order mark", "more empty lines"],
)
@pytest.mark.parametrize("suffix", [".conllu", ".conllu.gz"])
def test_round_trip_byte_for_byte(text, suffix, tmp_path):
    data = text.encode("utf-8")
    path, copy = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    write_conllu(copy, read_conllu(path))
    written = copy.read_bytes()
    assert (gzip.decompress(written) if suffix.endswith("gz") else written) == data


def test_new_trees_change_columns_7_and_8_of_words_only(tmp_path):
    path = tmp_path / "out.conllu"
    write_conllu(
        path,
        parse_conllu(RICH),
        heads=[[2, 0, 2, 3, 0, 0]],  # padded as a row of a batch
        relations=[["p", "q", "r", "s", "", ""]],
    )
    before, after = RICH.split("\n"), path.read_text("utf-8").split("\n")
    (sentence,) = read_conllu(path)
    assert sentence.heads == (2, 0, 2, 3)
    assert sentence.relations == ("p", "q", "r", "s")
    for old, new in zip(before, after, strict=True):
        old, new = old.split("\t"), new.split("\t")
        assert old[:6] == new[:6] and old[8:] == new[8:]
        if not old[0].isdecimal():
            assert old == new


def test_a_sentence_without_its_empty_line_can_be_moved(tmp_path):
    sentences = parse_conllu(RICH + RICH.replace("a-1", "a-2").rstrip("\n"))
    path = tmp_path / "out.conllu"
    write_conllu(path, sentences[::-1])
    assert [s.sent_id for s in read_conllu(path)] == ["a-2", "a-1"]


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "out.conllu"
    path.write_text("precious")

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_conllu(path, parse_conllu(RICH))
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["out.conllu"]


def test_writing_refuses_rows_that_do_not_fit(tmp_path):
    sentences = parse_conllu(RICH)
    for heads, message in [
        ([], "1 rows of heads were expected"),
        ([[0, 1]], "4 heads were expected"),
        ([[0, 1, 1, 5]], "heads must be in 0 ... 4"),
    ]:
        with pytest.raises(DataError, match=message):
            write_conllu(tmp_path / "x.conllu", sentences, heads=heads)


HEADER = "# sent_id = bad-7\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (word().replace("\t_\n", "\n"), 2, "9 columns instead of ten"),
        (word().replace("\t", " "), 2, "replace these by tabs"),
        (word((1, "")), 2, r"column 2 \(FORM\) is empty"),
        (word((6, "2")), 2, "HEAD .* is '2', but must be an integer in 0 ... 1"),
        (word((6, "\u0661")), 2, "HEAD .* must be an integer in 0 ... 1"),
        (word((6, "-1")), 2, "HEAD .* is '-1'"),
        (word((6, "_")), 2, "read the file without trees"),
        (word((6, "1")), 2, r"cycle \(1 -> 1\) and no word has head 0"),
        (
            word() + word((6, "3"), number=2) + word((6, "2"), number=3),
            3,
            r"cycle \(2 -> 3 -> 2\)",
        ),
        (word() + word(number=2), 3, r"2 words have head 0 \(lines 2, 3\)"),
        (word() + word((6, "1"), number=3), 3, "ID '3' is out of order; 2 was"),
        (word() + word((6, "1"), number=1), 3, "ID '1' occurs twice.* empty line"),
        (word((0, "01")), 2, "ID '01' is out of order"),
        (word((0, "2-3")) + word(), 2, "ID '2-3' does not fit"),
        (word((0, "1-1")) + word(), 2, "ID '1-1' does not fit"),
        (word() + word((0, "1.2")), 3, "ID '1.2' does not fit"),
        (word((0, "x")) + word(), 2, "ID 'x' does not fit"),
        (word() + "# late\n", 3, "a comment stands between"),
        (" \n" + word(), 2, "blanks only"),
        ("\n" + word(), 1, "no word in this block"),
        (word() + "\n# sent_id = bad-7\n" + word(), 4, "used in line 1 already"),
    ],
)
def test_faults_name_file_line_sentence_and_remedy(text, line, message, tmp_path):
    path = tmp_path / "bad.conllu"
    path.write_text(HEADER + text + "\n", "utf-8")
    place = f"^{re.escape(str(path))}, line {line}, sent_id bad-7: "
    with pytest.raises(DataError, match=place + ".*" + message) as error:
        read_conllu(path)
    assert str(error.value).endswith((".", ")."))


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_empty_files(text, tmp_path):
    path = tmp_path / "empty.conllu"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=r"empty\.conllu: the file holds no sentence"):
        read_conllu(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingDataError, match="there is no such file"):
        read_conllu(tmp_path / "no.conllu")
    latin = tmp_path / "latin.conllu"
    latin.write_bytes((RICH + word((1, "año"))).encode("utf-8")[:-2])
    latin.write_bytes(RICH.encode() + word((1, "año")).encode("latin-1"))
    with pytest.raises(DataError, match=r"line 12: not UTF-8 \(byte 0xf1\).*iconv"):
        read_conllu(latin)
    cut = tmp_path / "cut.conllu.gz"
    cut.write_bytes(gzip.compress(RICH.encode())[:-9])
    with pytest.raises(DataError, match="not a complete gzip file"):
        read_conllu(cut)


def test_sentences_without_trees_on_request():
    text = word((6, "_"), (7, "_")) + "\n" + word() + "\n"
    bare, tree = parse_conllu(text, gold=False)
    assert bare.heads is None and bare.relations is None
    assert tree.heads == (0,)
    with pytest.raises(DataError, match="HEAD"):
        parse_conllu(word((6, "_")) + word((6, "1"), number=2), gold=False)


def test_plain_tokens():
    stream = io.StringIO("a  cat\tsleeps .\r\n\n \nNew\u00a0York")
    sentences = list(read_tokens(stream))
    assert [s.forms for s in sentences] == [
        ("a", "cat", "sleeps", "."),
        ("New\u00a0York",),
    ]
    assert [s.line for s in sentences] == [1, 4]
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_tokens(io.TextIOWrapper(io.BytesIO(b"a\xf1b\n"), "utf-8")))


def test_generated_sentence_becomes_valid_conllu():
    sentence = Sentence(("a", "cat"), ("DET", "NOUN"), (2, 0), ("det", "root"), "x")
    (read,) = parse_conllu(sentence.to_conllu())
    assert (read.forms, read.upos, read.heads, read.relations, read.sent_id) == (
        sentence.forms,
        sentence.upos,
        sentence.heads,
        sentence.relations,
        "x",
    )
