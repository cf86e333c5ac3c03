"""Digests of image files, which make data comparable whatever their paths."""

from pathlib import Path

from edgewright.runtime.bundle import file_sha256
from edgewright.runtime.errors import DataError


def image_sha256(path: Path) -> str:
    """The sha256 of the file's bytes, in hex; DataError when it cannot be read."""
    try:
        return file_sha256(path)
    except OSError as err:
        raise DataError(
            f"{path}: the image cannot be read ({err.strerror}); check the file and its permissions"
        ) from err
