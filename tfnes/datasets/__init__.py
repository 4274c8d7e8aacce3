"""Data sets and their files.

* `provider`: what a data set is: named splits of batches (`DatasetProvider`).
* `universal_dependencies`: `TreebankAdaptation`: source trees, target text.
* `treebank_layout`: the files of a treebank in the layout of a UD release.
* `ud_treebank`: a TFDS builder, and `download_treebank`; import it by its name.
* `demo_treebank`: the default data, an invented language with two domains.
* `demo_grammar`: the grammar that generates it.
* `cooccurrence`: word vectors from counts, for the demo.
* `sentence`: the record of one sentence.
* `sentence_provider`: what providers of sentences have in common.
* `conllu_io`: strict reading and faithful writing of CoNLL-U, plain tokens.
* `conllu_parsing`: the checks of that format.
* `vocabulary`: words, relations and external vectors as integers.
* `word_vectors`: reading of fastText's text form.
* `batching`: plans of batches and their `tf.data` pipelines.
* `graph_layout`: moving points whose interaction is a hidden spanning tree.
* `graph_layout_builder`: the same through `tensorflow_datasets` (not imported here).
* `spring_layout`: the simulation behind it, in NumPy.
* `array_batches`: batches of arrays in memory.
* `binarized_images`: MNIST and its relatives, every pixel 0 or 1.
"""

from tfnes.datasets.array_batches import make_array_dataset
from tfnes.datasets.binarized_images import BinarizedImages
from tfnes.datasets.conllu_io import read_conllu, read_tokens, write_conllu
from tfnes.datasets.conllu_parsing import parse_conllu
from tfnes.datasets.demo_treebank import DemoTreebank
from tfnes.datasets.graph_layout import GraphLayout
from tfnes.datasets.provider import DatasetProvider
from tfnes.datasets.sentence import Sentence
from tfnes.datasets.sentence_provider import SentenceProvider
from tfnes.datasets.treebank_layout import find_treebank
from tfnes.datasets.universal_dependencies import TreebankAdaptation
from tfnes.datasets.vocabulary import (
    EncodedSentences,
    Vocabulary,
    normalize,
    signature,
)
from tfnes.datasets.word_vectors import WordVectors, read_word_vectors

__all__ = [
    "BinarizedImages",
    "DatasetProvider",
    "DemoTreebank",
    "EncodedSentences",
    "GraphLayout",
    "Sentence",
    "SentenceProvider",
    "TreebankAdaptation",
    "Vocabulary",
    "WordVectors",
    "find_treebank",
    "make_array_dataset",
    "normalize",
    "parse_conllu",
    "read_conllu",
    "read_tokens",
    "read_word_vectors",
    "signature",
    "write_conllu",
]
