import os
import stat
from pathlib import Path

import pytest

from bnnrepro.errors import UserError
from bnnrepro.runs.layout import RunFolder, run_folder


def test_the_path_is_made_of_the_four_names_and_nothing_is_made_on_disk(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "mnist", "mlp", "ste", "0123456789")
    assert folder.path == tmp_path / "mnist" / "mlp" / "ste" / "0123456789"
    assert list(tmp_path.iterdir()) == []


def test_all_files_lie_in_the_folder_under_different_names(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    names = [name for name, value in vars(RunFolder).items() if isinstance(value, property)]
    paths = {getattr(folder, name) for name in names}
    assert len(paths) == len(names) == 11
    assert {path.parent for path in paths} == {tmp_path}


def test_create_makes_it_once_and_again_and_leaves_no_file(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "new", "a", "b", "c", "d")
    folder.create()
    folder.create()
    assert list(folder.path.iterdir()) == []


def test_out_that_is_a_file_is_the_users_error(tmp_path: Path) -> None:
    out = tmp_path / "file"
    out.write_text("mine")
    with pytest.raises(UserError, match="must be a folder that can be written") as caught:
        run_folder(out, "a", "b", "c", "d").create()
    assert (caught.value.key, caught.value.value) == ("out", str(out))
    assert out.read_text() == "mine"


def test_out_that_may_not_be_written_is_the_users_error(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(tmp_path, os.W_OK):
        out = Path("/proc/nowhere")  # root may write everywhere but here
        if not Path("/proc/self").exists():
            pytest.skip("the superuser may write everywhere, and there is no /proc")
    else:
        out = tmp_path
    with pytest.raises(UserError, match=f"^out={out}: "):
        run_folder(out, "a", "b", "c", "d").create()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", ".hidden", "a\0"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_name_that_would_lead_elsewhere_is_refused(name: str, place: int) -> None:
    names = ["d", "m", "r"]
    names[place] = name
    with pytest.raises(UserError) as caught:
        run_folder("out", *names, "0123456789")  # type: ignore[call-arg]
    assert caught.value.key == ("dataset", "model", "method")[place]
