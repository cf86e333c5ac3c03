"""Pictures of one file, one folder or one glob pattern, in natural order."""

import glob
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edgewright.runtime.errors import SourceError
from edgewright.runtime.results import Frame, Image
from edgewright.runtime.sources import IMAGE_SUFFIXES, Source
from edgewright.runtime.uri import split_options

_log = logging.getLogger(__name__)
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


def from_uri(text: str) -> "ImageSource":
    """The pictures of a file, a folder (not its subfolders) or a glob pattern (`**` enters subfolders)."""
    location, _ = split_options("source images", text)
    return ImageSource(location, find_images(location))


class ImageSource(Source):
    """Picture files one by one. One that cannot be read is logged, counted and skipped; when all are, it is an error.

    `Frame.source` is the path of the file, `Frame.index` its position in the list.
    """

    def __init__(self, name: str, paths: tuple[Path, ...]) -> None:
        self.name = name
        self.paths = paths
        self.length = len(paths)

    def __iter__(self) -> Iterator[Frame]:
        self.skipped = 0
        for index, path in enumerate(self.paths):
            try:
                image = read_image(path)
            except SourceError as err:
                if len(self.paths) == 1:
                    raise
                self.skipped += 1
                _log.warning("skipped: %s", err)
                continue
            yield Frame(image, index, time.monotonic(), str(path))
        if self.skipped == len(self.paths):
            raise SourceError(f"{self.name}: none of its {self.skipped} images can be read; the warnings name them")


def read_image(path: Path) -> Image:
    """The picture as BGR uint8 (H, W, 3), turned upright by its EXIF orientation.

    Grey and palette pictures become colour, 16-bit samples are divided by 256, and transparency is dropped.
    SourceError when the file is missing, damaged, cut off, or of a kind that OpenCV cannot read.
    """
    try:
        data = path.read_bytes()
    except OSError as err:
        raise SourceError(f"{path} cannot be read: {err.strerror or err}") from err
    image = _decode(data)
    if image is None:
        what = "is empty" if not data else "is damaged, cut off, or no picture that OpenCV can read"
        raise SourceError(f"{path} {what}; convert or replace it (wanted: 8 or 16 bit JPEG, PNG, BMP, TIFF, WebP)")
    return image


def find_images(location: str) -> tuple[Path, ...]:
    """The picture files at `location` in natural order (2 before 10); SourceError with the reason if there is none."""
    path = Path(location)
    if path.is_dir():
        return _pictures_of_folder(path)
    if path.exists():
        return (path,)
    if not glob.has_magic(location):
        raise SourceError(f"images '{location}': there is no such file or folder; check the path")
    files = [Path(name) for name in glob.glob(location, recursive=True) if not Path(name).is_dir()]
    if not files:
        raise SourceError(f"pattern '{location}' matches no file; check it, and keep it in quotes")
    return _sorted_pictures(files) or _refuse(len(files), f"that match '{location}'")


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """A sort key by which `img2` comes before `img10`, whatever the case."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [int(part) if position % 2 else part for position, part in enumerate(parts)], str(path)


def _pictures_of_folder(folder: Path) -> tuple[Path, ...]:
    try:
        entries = list(folder.iterdir())
    except OSError as err:
        raise SourceError(f"folder {folder} cannot be listed: {err.strerror or err}") from err
    pictures = _sorted_pictures([entry for entry in entries if not entry.is_dir()])
    if pictures:
        return pictures
    if any(entry.is_dir() for entry in entries):
        raise SourceError(
            f"folder {folder} holds no pictures itself; for its subfolders say '{folder}/**/*.jpg' in quotes"
        )
    if not entries:
        raise SourceError(f"folder {folder} is empty; choose a folder with pictures")
    return _refuse(len(entries), f"of folder {folder}")


def _sorted_pictures(files: list[Path]) -> tuple[Path, ...]:
    # Hidden files are leftovers of other systems, such as `._photo.jpg` of macOS, and no pictures.
    chosen = (file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith("."))
    return tuple(sorted(chosen, key=natural_key))


def _refuse(count: int, which: str) -> tuple[Path, ...]:
    wanted = " ".join(sorted(IMAGE_SUFFIXES))
    raise SourceError(f"no picture is among the {count} file(s) {which}; wanted are: {wanted}")


def _decode(data: bytes) -> Image | None:
    # OpenCV before 5 fills the missing part of a cut-off JPEG with grey and says nothing.
    if not data or (data.startswith(_JPEG_START) and _JPEG_END not in data):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        # For example a picture of more pixels than OpenCV allows.
        return None
    return None if image is None else np.asarray(image, np.uint8)
