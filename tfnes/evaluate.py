"""Evaluates the best model of a run, on a split of its data or on a file.

    bin/evaluate --run=runs/parser_nes
    bin/evaluate --run=runs/parser_nes --split=target_dev
    bin/evaluate --run=runs/parser_nes --input=gold.conllu

The table goes to standard output; the same numbers as JSON to `evaluations/` in the
run directory, or to --output.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

from tfnes.errors import ConfigurationError, DataError
from tfnes.experiments import command_line


def evaluate(
    run: str,
    *,
    splits: Sequence[str] = (),
    files: Sequence[str] = (),
    data_dir: str | None = None,
    batch_size: int = 64,
) -> dict[str, dict[str, float]]:
    """Returns the metrics of a run's best model.

    Args:
      run: the run directory.
      splits: splits of the run's data; with neither splits nor files, those that the
        run's table shows.
      files: CoNLL-U files with gold trees.
      data_dir: where the run's data is now, if not where it was.
      batch_size: examples in a batch.

    Returns:
      the metrics by split or file.

    Raises:
      RunDirectoryError: if `run` cannot be used.
      DataError, MissingDataError: if a file is wrong or missing.
    """
    from tfnes.datasets.conllu_io import read_conllu
    from tfnes.experiments import evaluation
    from tfnes.experiments.saved_run import SavedRun

    sentences = {path: read_conllu(path) for path in files}
    saved = SavedRun(run)
    results = {}
    if splits or not files:
        dataset = saved.load_dataset(data_dir=data_dir)
        splits = splits or saved.resolve("evaluate") or ("validation", "test")
        for split in splits:
            dataset.check_split(split)
    model = saved.load_model()
    for split in splits:
        data = dataset.get_dataset(split, batch_size=batch_size)
        if "heads" not in data.element_spec and hasattr(dataset, "sentences"):
            raise DataError(
                f"{split} has no trees to compare with. Splits: "
                f"{', '.join(dataset.splits)}."
            )
        results[split] = evaluation.evaluate_dataset(model, data)
    for path, rows in sentences.items():
        data = evaluation.sentence_batches(
            model, rows, batch_size=batch_size, labeled=True
        )
        results[str(path)] = evaluation.evaluate_dataset(model, data)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = command_line.new_parser(
        program="evaluate",
        description="Evaluates the best model of a run, on splits of its data or on "
        "CoNLL-U files.",
    )
    add = parser.add_argument
    add("--run", required=True, metavar="DIR", help="the run directory")
    add(
        "--split",
        action="append",
        default=[],
        metavar="NAME",
        help="a split of the run's data; may be given several times (default: those "
        "of the run's own table)",
    )
    add(
        "--input",
        action="append",
        default=[],
        metavar="FILE",
        help="a CoNLL-U file with gold trees; may be given several times",
    )
    add("--data_dir", metavar="DIR", help="where the run's data is now")
    add("--batch_size", type=int, default=64, metavar="N", help="(default: 64)")
    add("--output", metavar="FILE", help="write the numbers to this JSON file")
    add("--debug", action="store_true", help="show the traceback of every error")
    flags = parser.parse_args(arguments)
    return command_line.run_program(lambda: _run(flags), debug=flags.debug)


def _run(flags) -> None:
    if flags.batch_size < 1:
        raise ConfigurationError(
            f"--batch_size must be at least 1. Received: {flags.batch_size}."
        )
    command_line.import_tensorflow()
    from tfnes.experiments.results import format_table
    from tfnes.files import write_text

    results = evaluate(
        flags.run,
        splits=flags.split,
        files=flags.input,
        data_dir=flags.data_dir,
        batch_size=flags.batch_size,
    )
    print(format_table({name: {"": values} for name, values in results.items()}))
    path = flags.output or _default_output(flags.run, results)
    write_text(path, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    print(f"\nJSON: {path}")


def _default_output(run: str, results: Mapping) -> pathlib.Path:
    name = "-".join(pathlib.Path(name).stem for name in results)
    return pathlib.Path(run, "evaluations", f"{name}.json")


if __name__ == "__main__":
    sys.exit(main())
