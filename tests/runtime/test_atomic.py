"""Files and folders appear complete or not at all."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from edgewright.runtime.atomic import atomic_file, atomic_folder, check_writable_target
from edgewright.runtime.errors import UsageError


def test_a_file_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "report.json"
    with atomic_file(target) as temporary:
        temporary.write_text("{}")
        assert not target.exists()
        assert temporary.suffix == ".json"
    assert target.read_text() == "{}"
    assert [path.name for path in target.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_block_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(error), atomic_file(target) as temporary:
        temporary.write_text("new")
        raise error
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_folder_leaves_the_old_one_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(error), atomic_folder(target, replace=True, marker="old") as temporary:
        (temporary / "new").write_text("new")
        raise error
    assert [path.name for path in target.iterdir()] == ["old"]
    assert len(list(tmp_path.iterdir())) == 1


def test_an_existing_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(UsageError, match="exists already"), atomic_folder(target):
        pass
    with atomic_folder(target, replace=True, marker="old") as temporary:
        (temporary / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", ["thesis.txt", "model.onnx"])
def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / content).write_text("precious")
    with (
        pytest.raises(UsageError, match=r"is no bundle \(it has no manifest\.json\)"),
        atomic_folder(tmp_path, replace=True),
    ):
        pytest.fail("the block must not run")
    assert (tmp_path / content).read_text() == "precious"


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="is no bundle"), atomic_folder(tmp_path / "file", replace=True):
        pytest.fail("the block must not run")


def test_the_working_directory_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="is the working directory"), atomic_folder(".", replace=True):
        pytest.fail("the block must not run")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with atomic_folder(tmp_path / "bundle", replace=True) as temporary:
        (temporary / "new").touch()
    assert (tmp_path / "bundle/new").exists()


def test_a_folder_in_the_place_of_a_file_is_refused_before_the_block(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a folder"), atomic_file(tmp_path):
        pytest.fail("the block must not run")


def test_a_parent_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"), atomic_file(tmp_path / "file" / "report.json"):
        pass


def test_a_place_that_cannot_be_written_is_refused_before_long_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*bundle: .*file is no folder; choose another place"):
        check_writable_target(tmp_path / "file" / "deep" / "bundle", replace=False)
    check_writable_target(tmp_path / "new" / "deep" / "bundle", replace=False)
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UsageError, match="may not be written to"):
        check_writable_target(tmp_path / "bundle", replace=False)


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe.json", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    with atomic_file(pipe) as temporary:
        temporary.write_text("{}")
    reader.join(timeout=10)
    assert got == ["{}"]
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.json"]


def test_a_device_without_room_is_a_clear_error_and_stays_a_device() -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("there is no /dev/full")
    with pytest.raises(UsageError, match="cannot write /dev/full: No space left on device"), atomic_file(full) as path:
        path.write_text("{}")
    assert full.is_char_device()


@pytest.mark.parametrize("writing", [atomic_file, atomic_folder])
def test_a_full_disk_is_a_clear_error_that_leaves_nothing(tmp_path: Path, writing: Any) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*new: No space left on device"), writing(tmp_path / "new"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []
