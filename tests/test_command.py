"""``bnnrepro COMMAND``: every command is there, and refuses in one or two lines."""

import shutil
import subprocess
import sys

import pytest
from tests.cases import first_fast

import bnnrepro
from bnnrepro.cli import COMMANDS, main


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_usage_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[2:]] == list(COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bnnrepro {bnnrepro.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["statsu"],
        ["status", "--foo"],
        ["retry", "--watch", "abc"],
        ["cancel", "--foo"],
        ["data", "--foo"],
        ["data", "mnits"],
        ["table"],
        ["figure", "2", "--seeds", "x"],
        ["reproduce-table", "--foo"],
        ["legacy"],
        ["info", "--foo"],
        ["results", "--foo"],
        ["compare", "--by"],
        ["--completion"],
        ["--completion", "bsh"],
        ["run", "--foo"],
        ["sweep", "epochs=0"],
    ],
    ids=" ".join,
)
def test_refused_in_a_line_or_two(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) <= 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [(["comp"], "compare"), (["compare", "--met"], "--metric"), (["sweep", "--de"], "--detach")],
)
def test_bash_completes_commands_and_options(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--completion", "bash"]) == 0
    script = capsys.readouterr().out
    line = " ".join(["bnnrepro", *words])
    script += f"\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _shtab_bnnrepro\n"
    script += 'echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected]


def test_info_names_versions_and_folders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["versions.bnnrepro"] == bnnrepro.__version__
    assert lines["folders.conf"].endswith("conf")


@pytest.mark.parametrize("command", first_fast(COMMANDS))
def test_every_command_has_help(command: str) -> None:
    line = [sys.executable, "-m", "bnnrepro", command, "--help"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "usage" in done.stdout.lower() or command in ("run", "sweep", "submit")
    assert done.stdout
