"""Parses sentences with the best model of a run.

    bin/predict --run=runs/parser_nes --input=x.conllu --output=y.conllu
    echo "a cat sleeps ." | bin/predict --run=runs/parser_nes > y.conllu

A CoNLL-U file keeps its comments, multiword tokens, empty nodes and all columns but
HEAD and DEPREL. Without --input, raw tokens are read from standard input, one sentence
a line, words separated by blanks. Without --output, CoNLL-U goes to standard output.
"""

from __future__ import annotations

import io
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


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = command_line.new_parser(
        program="predict",
        description="Parses sentences with the best model of a run.",
        epilog="examples:\n"
        "  bin/predict --run=runs/parser_nes --input=x.conllu --output=y.conllu\n"
        '  echo "a cat sleeps ." | bin/predict --run=runs/parser_nes',
    )
    add = parser.add_argument
    add("--run", required=True, metavar="DIR", help="the run directory")
    add(
        "--input",
        metavar="FILE",
        help="a CoNLL-U file, whose trees may be missing (default: raw tokens on "
        "standard input, one sentence a line)",
    )
    add("--output", metavar="FILE", help="a CoNLL-U file (default: standard output)")
    add("--batch_size", type=int, default=64, metavar="N", help="(default: 64)")
    add("--debug", action="store_true", help="show the traceback of every error")
    flags = parser.parse_args(arguments)
    return command_line.run_program(lambda: _run(flags), debug=flags.debug)


def _run(flags) -> None:
    if flags.batch_size < 1:
        raise ConfigurationError(
            f"--batch_size must be at least 1. Received: {flags.batch_size}."
        )
    if flags.input is None and sys.stdin.isatty():
        print("Reading sentences; end with Ctrl-D.", file=sys.stderr)
    command_line.import_tensorflow()
    from tfnes.datasets.conllu_io import read_conllu, read_tokens, write_conllu

    if flags.input is not None:
        sentences = read_conllu(flags.input, gold=False)
    else:
        stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8")
        sentences = list(read_tokens(stream))
    parsed = predict(flags.run, sentences, batch_size=flags.batch_size)
    if flags.output is not None:
        write_conllu(flags.output, parsed)
        return
    text = "".join(sentence.to_conllu() for sentence in parsed)
    sys.stdout.buffer.write(text.encode("utf-8"))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
