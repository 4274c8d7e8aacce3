"""Words, counts, relations and external words get the right integers."""

import json

import keras
import numpy as np
import pytest

from tfnes.datasets import Sentence, Vocabulary, normalize, parse_conllu, signature
from tfnes.errors import ConfigurationError, DataError


def sentence(text, relations=None):
    forms = tuple(text.split())
    n = len(forms)
    return Sentence(
        forms, ("X",) * n, tuple(range(n)), relations or ("root",) + ("dep",) * (n - 1)
    )


SOURCE = [sentence("The cat saw 3 cats"), sentence("the <root> 12:30")]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("Jakarta", "jakarta"),
        ("7", "NUM"),
        ("2nd", "NUM"),
        ("num", "num"),
        ("x2", "x2"),
        ("\u0663", "\u0663"),  # another script's digit: re "[0-9]" does not match it
        ("New York", "new_york"),
        ("ГОРОД", "город"),
    ],
)
def test_normalize(form, expected):
    assert normalize(form) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("2nd", "<unk:0>"),
        ("...", "<unk:.>"),
        ("%", "<unk:.>"),
        ("+", "<unk:-:+>"),
        ("DPR", "<unk:XX:pr>"),
        ("A", "<unk:Xx:a>"),
        ("Jakarta", "<unk:Xx:ta>"),
        ("makanan", "<unk:x:an>"),
        ("anak-anak", "<unk:-:ak>"),
        ("Город", "<unk:Xx:од>"),
        ("10 000", "<unk:0>"),
    ],
)
def test_signature(form, expected):
    assert signature(form) == expected


def test_unknown_words_that_look_alike_share_an_entry():
    # -ed: two words. -at: one word, written in two ways.
    source = [sentence("walked cat talked CAT cat Ada")]
    vocabulary = Vocabulary.build(source, signatures=True)
    assert vocabulary.words == [
        "<unk>", "<root>", "walked", "cat", "talked", "ada", "<unk:x:ed>",
    ]  # fmt: skip
    assert vocabulary.num_words == 6 and vocabulary.counts[6] == 0
    encoded = vocabulary.encode([sentence("walked jumped rat <unk:x:ed>")])
    assert encoded.words.tolist() == [2, 6, 0, 0]
    assert encoded.unknown.tolist() == [6, 6, 0, 0]
    restored = Vocabulary.from_config(vocabulary.get_config())
    assert restored.encode(source).unknown.tolist() == [6, 0, 6, 0, 0, 0]
    assert Vocabulary.build(source).encode(source).unknown is None


def test_build_counts_source_words_in_order_of_appearance():
    vocabulary = Vocabulary.build(SOURCE, unlabeled=[sentence("THE dog")])
    # The token `<root>` of the text is a word like others, not the root: it is unknown.
    assert vocabulary.words == [
        "<unk>", "<root>", "the", "cat", "saw", "NUM", "cats", "dog",
    ]  # fmt: skip
    assert vocabulary.counts == [0, 2, 2, 1, 1, 2, 1, 0]
    assert vocabulary.relations == ["<unk>", "root", "dep"]


def test_encode():
    vocabulary = Vocabulary.build(SOURCE)
    encoded = vocabulary.encode([*SOURCE, sentence("Cat bites", ("root", "obj"))])
    assert encoded.lengths.tolist() == [5, 3, 2]
    assert encoded.words.tolist() == [2, 3, 4, 5, 6, 2, 0, 5, 3, 0]
    assert encoded.heads.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1]
    assert encoded.relations.tolist() == [1, 2, 2, 2, 2, 1, 2, 2, 1, 0]
    assert encoded.external is None
    assert encoded.words.dtype == np.int32 and encoded.punctuation.dtype == bool


def test_encode_without_any_tree_or_sentence():
    vocabulary = Vocabulary.build(SOURCE)
    bare = Sentence(("cat", "."), ("NOUN", "PUNCT"))
    encoded = vocabulary.encode([bare])
    assert encoded.heads is None and encoded.relations is None
    assert encoded.punctuation.tolist() == [False, True]
    assert vocabulary.encode([SOURCE[0], bare]).heads is None
    assert vocabulary.encode([]).words.shape == (0,)


def test_external_words_are_looked_up_exactly_then_normalized_then_unknown():
    vocabulary = Vocabulary.build(SOURCE).with_vectors(
        ["The", "the", "cat", "<root>"], np.zeros((7, 2))
    )
    encoded = vocabulary.encode([sentence("The THE Cat saw <root>")])
    assert encoded.external.tolist() == [3, 4, 5, 0, 6]
    assert vocabulary.external_words[:3] == ["<unk>", "<root>", "<init>"]
    assert vocabulary.vectors.dtype == np.float32


def test_authors_vocabulary_counts_multiword_tokens_and_empty_nodes():
    text = (
        "1-2\tDa\t_\t_\t_\t_\t_\t_\t_\t_\n1\tde\t_\tX\t_\t_\t0\troot\t_\t_\n"
        "2\ta\t_\tX\t_\t_\t1\tdet\t_\t_\n2.1\tde\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
    )
    rows = parse_conllu(text)
    assert Vocabulary.build(rows).words[2:] == ["de", "a"]
    everything = Vocabulary.build(rows, all_tokens=True)
    assert dict(zip(everything.words, everything.counts, strict=True)) == {
        "<unk>": 0, "<root>": 1, "de": 2, "a": 1, "da": 1,
    }  # fmt: skip


def test_configuration_is_json_and_restores():
    vocabulary = Vocabulary.build(SOURCE).with_vectors(["cat"], np.ones((4, 2)))
    config = json.loads(json.dumps(vocabulary.get_config()))
    restored = Vocabulary.from_config(config)
    assert restored.get_config() == vocabulary.get_config()
    assert restored.vectors is None
    encoded = [v.encode(SOURCE).external.tolist() for v in (vocabulary, restored)]
    assert encoded[0] == encoded[1]
    through_keras = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(vocabulary)
    )
    assert through_keras.words == vocabulary.words


def test_wrong_lists_are_refused():
    good = Vocabulary.build(SOURCE).get_config()
    for change, message in [
        ({"words": ["a", "b"]}, "must begin with"),
        ({"counts": [1]}, "one count for each"),
        ({"num_signatures": 99}, "num_signatures"),
        ({"external_words": ["a"]}, "must begin with"),
        ({"vectors": np.zeros((2, 2))}, "one row for each"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            Vocabulary(**{**good, **change})
    with pytest.raises(DataError, match="'cat' occurs twice"):
        Vocabulary(
            words=["<unk>", "<root>", "cat", "cat"], counts=[0] * 4, relations=[]
        )
