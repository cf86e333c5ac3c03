"""Files that grow by lines, or other pieces, and are whole after every write, also when the disk is full or the process is killed."""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgewright.runtime.errors import SinkError
from edgewright.runtime.sinks import make_folder


class LineFile:
    """Lines, or other pieces, in a file. Each is there for readers as soon as it is written, and one that did not fit is taken back.

    What the file held before is replaced with the first line, or when it is closed well without one: a run that fails before
    leaves everything as it was. When the file is removed meanwhile, that is an error once, and the next line begins it anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self._is_new = not path.exists()
        make_folder(path.parent)
        self._file = self._opened()

    def append(self, line: bytes) -> None:
        """Write one line with its newline; SinkError when it does not fit, and then nothing of it is left."""
        self._check_place()
        if self.bytes == 0:
            self._clear()
        written = 0
        try:
            while written < len(line):
                # A write that stops short, as on a full disk, gives its reason when it is tried again.
                written += self._file.write(line[written:])
        except OSError as err:
            # A pipe or device cannot be cut back.
            with suppress(OSError):
                self._file.truncate(self.bytes)
            raise SinkError(f"{self.path} cannot be written: {err.strerror or err}, after {self.bytes} bytes") from err
        self.bytes += len(line)

    def close(self, *, failed: bool = False, sync: bool = False) -> None:
        """Close the file, with `sync` when it is on the disk; without a line it is emptied, and after a failure left as it was."""
        if self.bytes == 0 and not failed and not self._file.closed:
            self._clear()
        if sync and not self._file.closed:
            with suppress(OSError):
                os.fdatasync(self._file.fileno())
        self._file.close()
        if self.bytes == 0 and failed and self._is_new:
            self.path.unlink(missing_ok=True)

    def _check_place(self) -> None:
        if self.bytes and not self.path.exists():
            self._file.close()
            lost, self.bytes = self.bytes, 0
            raise SinkError(f"{self.path} was removed while it was written, with {lost} bytes")
        if self._file.closed:
            self._file = self._opened()

    def _opened(self) -> BinaryIO:
        try:
            return self.path.open("ab", buffering=0)
        except OSError as err:
            raise SinkError(
                f"{self.path} cannot be written: {err.strerror or err}; check its path and permissions"
            ) from err

    def _clear(self) -> None:
        # A pipe or device holds nothing to cut.
        with suppress(OSError):
            self._file.truncate(0)


@dataclass(frozen=True)
class Rotation:
    """When a file is full: at `most_bytes`, or `most_s` after its first line; of the full ones, the newest `keep` stay."""

    most_bytes: float
    most_s: float
    keep: int


class RotatingLines:
    """Lines in `run.jsonl`, which becomes `run.000001.jsonl` when it is full, the next one `run.000002.jsonl`, and so on.

    A full file is never touched again but to be removed, so that whoever collects them needs no lock. What an earlier run left in
    `run.jsonl` becomes the next full file; a line that was cut off by a power failure is taken out of it.
    """

    def __init__(self, path: Path, rotation: Rotation) -> None:
        self._path = path
        self._rotation = rotation
        self._numbered = re.compile(rf"{re.escape(path.stem)}\.(\d{{6,}}){re.escape(path.suffix)}")
        self._started_s = 0.0
        self._file: LineFile | None = None
        make_folder(path.parent)
        self._put_away()
        self._file = LineFile(path)

    def append(self, line: bytes) -> None:
        """Write one line, into the next file when this one is full; SinkError when that is not possible."""
        file = self._file
        if file is not None and file.bytes and self._is_full(file.bytes + len(line)):
            file.close()
            self._file = file = None
        if file is None:
            self._put_away()
            self._file = file = LineFile(self._path)
        if file.bytes == 0:
            self._started_s = time.monotonic()
        file.append(line)

    def close(self, *, failed: bool = False) -> None:
        """Close the file; one without lines is removed."""
        if self._file is not None:
            self._file.close(failed=failed)
            if self._file.bytes == 0:
                self._path.unlink(missing_ok=True)

    def _is_full(self, with_next: int) -> bool:
        age_s = time.monotonic() - self._started_s
        return with_next > self._rotation.most_bytes or age_s >= self._rotation.most_s

    def _put_away(self) -> None:
        try:
            if self._path.exists() and not self._path.is_file():
                raise SinkError(f"{self._path} is no file, and only files rotate; leave size, every and keep out")
            numbers = sorted(self._full_files())
            if self._path.exists() and _cut_to_whole_lines(self._path):
                number = max(numbers, default=0) + 1
                os.replace(self._path, self._named(number))
                numbers.append(number)
            for number in numbers[: -self._rotation.keep or None]:
                self._named(number).unlink(missing_ok=True)
        except OSError as err:
            raise SinkError(f"{self._path} cannot be put away: {err.strerror or err}; check its permissions") from err

    def _full_files(self) -> list[int]:
        names = (self._numbered.fullmatch(path.name) for path in self._path.parent.iterdir())
        return [int(match[1]) for match in names if match]

    def _named(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}.{number:06d}{self._path.suffix}")


def _cut_to_whole_lines(path: Path, *, block: int = 1 << 16) -> int:
    """Take what follows the last newline off a file; its size then."""
    with path.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - block)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)
    return end
