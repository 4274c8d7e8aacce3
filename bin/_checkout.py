"""Lets the programs beside it run from a checkout, whether tfnes is installed or not.

The checkout's own code comes first on the path, also for the processes that a program
starts; what tfnes depends on has to be installed.
"""

import importlib.util
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

sys.path[0] = str(ROOT)
paths = [str(ROOT), os.environ.get("PYTHONPATH")]
os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)

if any(importlib.util.find_spec(name) is None for name in ("gin", "tensorflow")):
    print(
        f"Error: what {pathlib.Path(sys.argv[0]).name} needs is not installed for "
        f"{sys.executable}. Install it: pip install -e {ROOT}",
        file=sys.stderr,
    )
    sys.exit(2)
