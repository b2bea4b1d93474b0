"""Config files that are broken, and the traceback on request; test_bad_inputs.py has the rest."""

from pathlib import Path

import pytest

from bnnrepro.cli.run import main
from bnnrepro.errors import UserError


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("lr: [1\n", ["broken.yaml:2", "not valid YAML"]),
        ("- a\n- b\n", ["method=['a', 'b']", "mapping"]),
        ("defaults:\n  - nothing_here\n", ["nothing_here"]),
        ("lr: ${oops\n", ["oops"]),
    ],
)
def test_a_broken_file(
    text: str, fragments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "broken.yaml").write_text(text)
    assert main(["--config-dir", str(tmp_path), "method=broken"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 2
    for fragment in fragments:
        assert fragment in err


def test_the_whole_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError) as caught:
        main(["method=bayesbin"])
    assert caught.value.__cause__ is not None
