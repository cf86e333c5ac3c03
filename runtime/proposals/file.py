"""Regions that were computed before, from a file: `file:boxes.json` or `file:boxes.npz` (`edgewright propose` writes one).

JSON: an object with a list of boxes [x1, y1, x2, y2] in pixels of the image, best first, for each image; npz: an array
(N, 4) for each. An image is known by its file's name, its id in the data set, or its number in the source. What stands at
`picture:NAME` is no boxes: it tells whether a picture of that name is the one that the regions are of, see `thumbprint`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.backends import Setting
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.npz_file import read_npz
from edgewright.runtime.results import Boxes, Image

PICTURE = "picture:"
_SIDE = 8
# Greys of a part of the picture that decoders and compressions disagree by, and not two pictures.
_TOLERANCE = 12


def from_uri(text: str) -> "Stored":
    """The regions in the file `text`; DataError when it cannot be read or holds anything but boxes."""
    if not text:
        raise UsageError("proposals file name no file; write file:BOXES.json or file:BOXES.npz")
    path = Path(text)
    try:
        data = path.read_bytes()
    except OSError as err:
        raise DataError(
            f"proposals {path} cannot be read: {err.strerror or err}; make the file with `edgewright propose`"
        ) from err
    entries = _read_npz(path, data) if path.suffix == ".npz" else _read_json(path, data)
    regions = {name: _boxes(path, name, value) for name, value in entries.items() if not name.startswith(PICTURE)}
    pictures = {
        name.removeprefix(PICTURE): _thumbprint(path, name, value)
        for name, value in entries.items()
        if name.startswith(PICTURE)
    }
    return Stored(path, sha256(data).hexdigest(), regions, pictures)


def thumbprint(image: Image) -> npt.NDArray[np.int64]:
    """Height, width and 8 x 8 greys of a BGR picture: the same for all who decode it, and another for another picture."""
    greys = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.concatenate([np.array(image.shape[:2]), greys.ravel()]).astype(np.int64)


@dataclass(frozen=True)
class Stored:
    """Regions by image, and the thumbprints of the pictures that they are of, where the file has them."""

    path: Path
    digest: str
    regions: Mapping[str, Boxes]
    pictures: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Setting]:
        return {"digest": self.digest}

    def __call__(self, image: Image, names: Sequence[str] = ()) -> Boxes:
        """The regions of the first name that the file knows; DataError when it knows none, or knows another picture by it."""
        for name in names:
            if name in self.regions:
                self._check(name, image)
                return self.regions[name]
        wanted = " or ".join(f"'{name}'" for name in names) or "a picture without a name"
        there = ", ".join(f"'{name}'" for name in list(self.regions)[:3]) + (", ..." if len(self.regions) > 3 else "")
        raise DataError(
            f"proposals {self.path} have no regions of {wanted}; the file is of {len(self.regions)} images: {there or 'none'}; "
            "make one of these pictures with `edgewright propose`, or take another method with --propose"
        )

    def _check(self, name: str, image: Image) -> None:
        known, got = self.pictures.get(name), thumbprint(image)
        if known is None or (
            np.array_equal(known[:2], got[:2]) and np.abs(known[2:] - got[2:]).max(initial=0) <= _TOLERANCE
        ):
            return
        sizes = [f"{height} x {width}" for height, width in (known[:2], got[:2])]
        kind = f"is {sizes[1]}, where theirs was {sizes[0]}" if sizes[0] != sizes[1] else "looks otherwise than theirs"
        raise DataError(
            f"proposals {self.path}: the regions of '{name}' are of another picture: this one {kind}; make a file of these "
            "pictures with `edgewright propose`"
        )


def _read_json(path: Path, data: bytes) -> dict[str, object]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise DataError(f'proposals {path} are no JSON ({err}); wanted: {{"IMAGE": [[x1, y1, x2, y2], ...]}}') from err
    if not isinstance(content, dict):
        raise DataError(
            f'proposals {path} hold a JSON {type(content).__name__}; wanted: {{"IMAGE": [[x1, y1, x2, y2], ...]}}'
        )
    return content


def _read_npz(path: Path, data: bytes) -> dict[str, object]:
    try:
        return dict(read_npz(BytesIO(data)))
    except ValueError as err:
        raise DataError(f"proposals {path} are no npz file of arrays ({err}); write it with numpy.savez") from err


def _thumbprint(path: Path, name: str, value: object) -> npt.NDArray[np.int64]:
    try:
        found = np.asarray(value, np.int64)
    except (TypeError, ValueError, OverflowError) as err:
        raise DataError(f"proposals {path}: '{name}' is no list of whole numbers ({err})") from err
    if found.shape != (2 + _SIDE**2,):
        raise DataError(f"proposals {path}: '{name}' has the shape {list(found.shape)}; wanted: {2 + _SIDE**2} numbers")
    return found


def _boxes(path: Path, name: str, value: object) -> Boxes:
    try:
        boxes: npt.NDArray[np.float32] = np.asarray(value, np.float32)
    except (TypeError, ValueError) as err:
        raise DataError(f"proposals {path}: '{name}' is no list of boxes of 4 numbers ({err})") from err
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise DataError(
            f"proposals {path}: '{name}' has the shape {list(boxes.shape)} or holds NaN; wanted: N boxes [x1, y1, x2, y2]"
        )
    inverted = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if inverted.size:
        raise DataError(
            f"proposals {path}: box {inverted[0]} of '{name}' is {boxes[inverted[0]].tolist()}, whose end lies before its "
            "start; wanted: x1, y1, x2, y2 (not width and height)"
        )
    return boxes
