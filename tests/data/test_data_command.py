import subprocess
import sys

from bnnrepro.cli import data
from bnnrepro.data import mnist


def test_a_misspelt_name_is_one_line_and_exit_2():
    command = [sys.executable, "-m", "bnnrepro", "data", "cifar10", "mnits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "mnits" in done.stderr
    assert "'mnist'" in done.stderr


def test_what_is_fetched_can_be_loaded(tmp_path, small_mnist):
    assert data.main(["mnist", "--root", str(tmp_path)]) == 0
    assert len(mnist.load(root=tmp_path).train) == 30


def test_a_failed_fetch_is_exit_2(tmp_path, small_mnist, server, capsys):
    server.shutdown()
    server.server_close()
    assert data.main(["mnist", "--root", str(tmp_path)]) == 2
    assert "error: dataset.root" in capsys.readouterr().err
