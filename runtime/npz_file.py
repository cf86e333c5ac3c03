"""Arrays by name in .npz files, which may be of strangers."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt


def read_npz(file: Path | BinaryIO) -> dict[str, npt.NDArray[Any]]:
    """All arrays of the file; ValueError with the reason when it is no such file, damaged, or holds anything pickled."""
    # NumPy takes whatever is no archive for a pickle, and an empty file for the end of one.
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no .npz file, or cut short")
    if not isinstance(file, Path):
        file.seek(0)
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as err:
        raise ValueError(str(err)) from err
