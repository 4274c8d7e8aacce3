"""What several benchmarks set up alike; no benchmark itself."""

import keras

import tfnes


def treebank_parser(flags, *, max_length, projective=True, seed=0):
    """Returns two real treebanks and a parser, as gin_configs/ has them.

    `flags` name `source`, `target`, `data_dir` and `vectors`; `max_length` is that of
    training sentences, None for all of them. The recipe is that of
    gin_configs/base/treebank_adaptation.gin.
    """
    data = tfnes.datasets.TreebankAdaptation(
        source=flags.source,
        target=flags.target,
        data_dir=flags.data_dir,
        vectors=flags.vectors,
        vocabulary="source",
        signatures=True,
        missing_train="dev",
        max_source_length=max_length,
        max_target_length=max_length,
    )
    structure = tfnes.structures.DependencyTree(projective=projective)
    model = tfnes.models.Parser(structure, word_dropout=1.0, dropout=0.3, seed=seed)
    return data, model


def estimator_of(expression):
    """Returns the estimator of a Python expression, such as `NES(sigma=0.1)`."""
    names = {name: getattr(tfnes.estimators, name) for name in tfnes.estimators.__all__}
    return eval(expression, {**names, "keras": keras})
