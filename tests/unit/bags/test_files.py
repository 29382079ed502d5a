"""Files and folders appear whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from forerun_sim.errors import ForerunError, InputError
from forerun_sim.files import atomic_children, atomic_file, atomic_folder, write_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_is_replaced_as_a_whole_with_the_usual_rights(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "result.json"
    write_file(target, "one")
    write_file(target, b"two")
    plain = tmp_path / "plain"
    plain.write_text("")
    assert target.read_text() == "two" and target.stat().st_mode == plain.stat().st_mode
    assert names(target.parent) == ["result.json"]
    with pytest.raises(InputError, match="exists already"):
        write_file(target, "three", overwrite=False)


def test_failing_block_leaves_file_and_folder_as_they_were(tmp_path: Path) -> None:
    write_file(tmp_path / "file", "before")
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "file") as file:
        file.write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "folder") as folder:
        folder.mkdir()
        (folder / "half").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "before"


def test_children_move_in_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bags"
    with atomic_children(folder) as fresh:
        (fresh / "b").write_text("old b")
        (fresh / "z").write_text("old z")
    with atomic_children(folder, overwrite=True) as fresh:
        (fresh / "b").write_text("new b")
    assert (folder / "b").read_text() == "new b"
    rename = Path.rename

    def fails_at_z(self: Path, target: Path) -> Path:
        if self.name == "z" and self.parent.name == "fresh":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_at_z)
    with pytest.raises(ForerunError, match="Input/output error"), atomic_children(folder, overwrite=True) as fresh:
        for name in "abz":
            (fresh / name).write_text("newest")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"b": "new b", "z": "old z"}


def test_target_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=str(tmp_path / "file" / "result")):
        write_file(tmp_path / "file" / "result", "")
    with pytest.raises(InputError, match="is a file"), atomic_children(tmp_path / "file"):
        pass


def test_full_disk_keeps_the_old_file(mounted: Callable[..., Path]) -> None:
    disk = mounted("1m")
    write_file(disk / "result", b"x" * 600_000)
    with pytest.raises(ForerunError, match="disk is full"):
        write_file(disk / "result", b"y" * 600_000)
    assert (disk / "result").read_bytes() == b"x" * 600_000 and names(disk) == ["result"]
