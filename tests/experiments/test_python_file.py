"""A model in a plain file of Python, trained and used by the programs."""

import os
import subprocess
import sys

import tfnes.train

TEXT = """
import tfnes
from toy import ToyModel


@tfnes.register("model", package="mine")
class MyModel(ToyModel):
    '''A model of one's own.'''
"""


def test_a_file_registers_a_model_that_all_programs_find(tmp_path, train_toy):
    file = tmp_path / "my_model.py"
    file.write_text(TEXT, encoding="utf-8")
    run = tmp_path / "run"
    arguments = [
        f"--python_file={file}",
        "--gin_param=train.model = @MyModel()",
        "--gin_param=train.phases = [@first/Phase()]",
        "--smoke",
    ]
    assert train_toy(run, *arguments)[0] == 0
    # Another process, which was told of neither the file nor the toy's folder.
    command = [sys.executable, "-m", "tfnes.evaluate", f"--run={run}"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "neg_elbo" in done.stdout
    command = [sys.executable, "-m", "tfnes.train", "--list", f"--python_file={file}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "A model of one's own." in done.stdout


def test_files_that_cannot_be_imported(capsys, tmp_path):
    file = tmp_path / "my-model.py"
    file.write_text("", encoding="utf-8")
    for name in (str(file), "nowhere.py"):
        assert tfnes.train.main([f"--python_file={name}", "--gin_param=A = 1"]) == 2
        assert f"Received: {name}" in capsys.readouterr().err
