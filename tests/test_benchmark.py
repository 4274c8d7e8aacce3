"""The program that runs benchmarks by name."""

import subprocess
import sys

from tfnes import benchmark


def test_all_are_listed_in_one_line_each(capsys):
    assert benchmark.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(benchmark.benchmarks()) >= 10
    assert all(line.endswith(".") for line in lines)
    # What is only a part of another is not one.
    assert "solver_peers" not in benchmark.benchmarks()


def test_flags_after_the_name_are_the_benchmark_s_own():
    command = [sys.executable, "-m", "tfnes.benchmark", "graph_layout"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--peer_examples" in done.stdout
    assert subprocess.run([*command, "--no"], capture_output=True).returncode == 2


def test_a_name_that_is_none(capsys):
    assert benchmark.main(["nes_stp"]) == 2
    assert "Did you mean nes_step?" in capsys.readouterr().err
    assert benchmark.main([]) == 2
