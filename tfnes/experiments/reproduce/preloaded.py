"""Imports what runs need and is slow to import; starts nothing that a fork breaks."""

import contextlib

from tfnes.experiments import command_line

command_line.be_quiet()
command_line.import_tensorflow()

from tfnes.experiments import catalog, training  # noqa: E402, F401

catalog.register_all()
with contextlib.suppress(ImportError):
    import tensorflow_datasets  # noqa: F401
