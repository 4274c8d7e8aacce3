"""Parses sentences with the best model of a run.

    bin/predict --run=runs/parser_nes --input=x.conllu --output=y.conllu
    echo "a cat sleeps ." | bin/predict --run=runs/parser_nes > y.conllu
    bin/predict --run=runs/parser_nes --split=target_test --pictures=pictures

A CoNLL-U file keeps its comments, multiword tokens, empty nodes and all columns but
HEAD and DEPREL. Without --input, raw tokens are read from standard input, one sentence
a line, words separated by blanks. Without --output, CoNLL-U goes to standard output;
with --pictures alone, drawings are all that is made.
"""

from __future__ import annotations

import io
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfnes.errors import ConfigurationError
from tfnes.experiments import command_line

if TYPE_CHECKING:
    from tfnes.datasets.sentence import Sentence


def predict(
    run: str, sentences: Sequence[Sentence], *, batch_size: int = 64
) -> list[Sentence]:
    """Returns sentences with the trees that a run's best model gives them.

    Args:
      run: the run directory.
      sentences: of `tfnes.datasets.read_conllu`, `read_tokens`, or made by hand.
      batch_size: sentences in a batch.

    Raises:
      RunDirectoryError: if `run` cannot be used.
    """
    from tfnes.experiments.evaluation import TreePredictor
    from tfnes.experiments.saved_run import SavedRun

    model = SavedRun(run).load_model()
    heads, relations = TreePredictor(model, batch_size=batch_size)(sentences)
    return [
        sentence.with_tree(heads=row, relations=names)
        for sentence, row, names in zip(sentences, heads, relations, strict=True)
    ]


def draw(
    directory: str,
    parsed: Sequence[Sentence],
    gold: Sequence[Sentence],
    *,
    limit: int = 10,
) -> list[pathlib.Path]:
    """Draws predicted trees as SVG, each opposite the gold tree where there is one.

    Args:
      directory: where to; made if it does not exist.
      parsed: sentences with predicted trees.
      gold: the same sentences as they were read.
      limit: draw the first so many.

    Returns:
      the files, named by the number of the sentence and its `sent_id`.
    """
    from tfnes import plotting

    pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (sentence, other) in enumerate(
        list(zip(parsed, gold, strict=True))[:limit], start=1
    ):
        figure = plotting.draw_dependency_tree(
            sentence.forms,
            sentence.heads or (),
            relations=sentence.relations,
            gold_heads=other.heads,
            gold_relations=other.relations,
        )
        name = re.sub(r"[^\w.-]+", "_", sentence.sent_id or "")
        paths.append(
            pathlib.Path(directory, f"{number:03d}_{name}".rstrip("_") + ".svg")
        )
        plotting.save_figure(figure, paths[-1])
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = command_line.new_parser(
        program="predict",
        description="Parses sentences with the best model of a run.",
        epilog="examples:\n"
        "  bin/predict --run=runs/parser_nes --input=x.conllu --output=y.conllu\n"
        '  echo "a cat sleeps ." | bin/predict --run=runs/parser_nes\n'
        "  bin/predict --run=runs/parser_nes --split=target_test --pictures=pictures",
    )
    add = parser.add_argument
    add("--run", required=True, metavar="DIR", help="the run directory")
    add(
        "--input",
        metavar="FILE",
        help="a CoNLL-U file, whose trees may be missing (default: raw tokens on "
        "standard input, one sentence a line)",
    )
    add("--split", metavar="NAME", help="parse a split of the run's data instead")
    add("--output", metavar="FILE", help="a CoNLL-U file (default: standard output)")
    add(
        "--pictures",
        metavar="DIR",
        help="draw the first trees here as SVG, opposite the gold tree where the input "
        "has one",
    )
    add(
        "--num_pictures",
        type=int,
        default=10,
        metavar="N",
        help="how many to draw (default: 10)",
    )
    add("--batch_size", type=int, default=64, metavar="N", help="(default: 64)")
    add("--debug", action="store_true", help="show the traceback of every error")
    flags = parser.parse_args(arguments)
    return command_line.run_program(lambda: _run(flags), debug=flags.debug)


def _run(flags) -> None:
    for name, value in (
        ("batch_size", flags.batch_size),
        ("num_pictures", flags.num_pictures),
    ):
        if value < 1:
            raise ConfigurationError(f"--{name} must be at least 1. Received: {value}.")
    if flags.input is not None and flags.split is not None:
        raise ConfigurationError(
            f"--input={flags.input} and --split={flags.split} both say what to parse. "
            "Give one of them."
        )
    sentences = _read(flags)
    parsed = predict(flags.run, sentences, batch_size=flags.batch_size)
    if flags.pictures is not None:
        paths = draw(flags.pictures, parsed, sentences, limit=flags.num_pictures)
        print(f"Pictures: {len(paths)} in {flags.pictures}", file=sys.stderr)
    if flags.output is not None:
        from tfnes.datasets.conllu_io import write_conllu

        write_conllu(flags.output, parsed)
    elif flags.pictures is None:
        text = "".join(sentence.to_conllu() for sentence in parsed)
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.flush()


def _read(flags) -> list[Sentence]:
    """Returns the sentences that the flags ask for."""
    from_terminal = flags.input is None and flags.split is None
    if from_terminal and sys.stdin.isatty():
        print("Reading sentences; end with Ctrl-D.", file=sys.stderr)
    command_line.import_tensorflow()
    from tfnes.datasets.conllu_io import read_conllu, read_tokens

    if flags.input is not None:
        return read_conllu(flags.input, gold=False)
    if flags.split is not None:
        from tfnes.experiments.saved_run import SavedRun

        dataset = SavedRun(flags.run).load_dataset()
        dataset.check_split(flags.split)
        return dataset.sentences(flags.split)
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8")
    return list(read_tokens(stream))


if __name__ == "__main__":
    sys.exit(main())
