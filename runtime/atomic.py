"""Files and folders appear complete or not at all: they are written under a temporary name and renamed."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgewright.runtime.errors import UsageError


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` when the block ends well, else it is removed.

    The temporary name keeps the suffix, since writers choose the format by it. A device or pipe, such as /dev/stdout, is
    written to at the end and stays what it is.
    """
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"cannot write {target}: it is a folder; give a file name")
    if _is_stream(target):
        with _copied_to(target) as temporary:
            yield temporary
        return
    temporary = _beside(target, make=lambda prefix, folder: _touch(prefix, folder, target.suffix))
    try:
        with _room_for(target):
            yield temporary
            _sync(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str, *, replace: bool = False, marker: str = "manifest.json") -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block ends well, else it is removed.

    An existing folder is replaced only with `replace`, and only if it is empty or holds `marker`; UsageError otherwise.
    """
    target = Path(path).absolute()
    check_writable_target(target, replace=replace, marker=marker)
    temporary = _beside(target, make=lambda prefix, folder: Path(tempfile.mkdtemp(prefix=prefix, dir=folder)))
    temporary.chmod(0o777 & ~_umask())
    try:
        with _room_for(target):
            yield temporary
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable_target(target: Path, *, replace: bool, marker: str = "manifest.json") -> None:
    """UsageError when `target` exists and may not be replaced, or cannot be made; call it before long work."""
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        what = "may not be written to" if folder.is_dir() else "is no folder"
        raise UsageError(f"cannot write {target}: {folder} {what}; choose another place, or check its permissions")
    if not target.exists():
        return
    if not replace:
        raise UsageError(f"{target} exists already; choose another name, or pass --force to replace it")
    if not target.is_dir() or (any(target.iterdir()) and not (target / marker).is_file()):
        raise UsageError(
            f"{target} exists and is no bundle (it has no {marker}), so it is not replaced; choose another name"
        )
    if target.absolute() == Path.cwd():
        raise UsageError(
            f"{target} is the working directory and cannot be replaced; go elsewhere, or choose another name"
        )


@contextmanager
def _room_for(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UsageError(f"cannot write {target}: {err.strerror}; make room, or choose another disk") from err


def _is_stream(target: Path) -> bool:
    # Where stdout goes to a file, the name looks like one, and a rename would replace the machine's /dev/stdout.
    return target.exists() and (not target.is_file() or (target.parts[:2] == ("/", "dev") and target.is_symlink()))


@contextmanager
def _copied_to(stream: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"content{stream.suffix}"
        temporary.touch()
        yield temporary
        try:
            with temporary.open("rb") as source, stream.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        except BrokenPipeError:
            raise
        except OSError as err:
            raise UsageError(f"cannot write {stream}: {err.strerror or err}; give a file") from err


def _beside(target: Path, make: Callable[[str, Path], Path]) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return make(f".{target.stem}.", target.parent)
    except OSError as err:
        raise UsageError(f"cannot write {target}: {err.strerror or err}; check the folder and its permissions") from err


def _touch(prefix: str, folder: Path, suffix: str) -> Path:
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())
    return Path(name)


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _swap(temporary: Path, target: Path) -> None:
    if not target.exists():
        os.rename(temporary, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        os.rename(target, old / "was")
        try:
            os.rename(temporary, target)
        except BaseException:
            os.rename(old / "was", target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
