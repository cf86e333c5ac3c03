"""What a run saw and found, kept so that another network can be run on the very same frames.

A recording is a folder of parts. `000001.jsonl` holds a header and a line per frame; the pictures stand one after the other in
`000001.mjpeg` (or `.mpng`), class maps in `000001.maps`, where the lines say. A line is written after what it points at, and a line
that is cut off, or points beyond the end, is left out: what a killed run has written can be read up to its last whole frame.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import SourceError
from edgewright.runtime.masks import mask_of_runs
from edgewright.runtime.results import Detections, Image, PanopticMap, Result, Segment, SemanticMap

_log = logging.getLogger(__name__)
FORMAT = 1
PICTURES = {"jpg": ".mjpeg", "png": ".mpng"}
MAPS = ".maps"
_USUAL_FPS = 30.0
_RATE_LINES = 200
_PART = re.compile(r"(\d{6,})\.jsonl")


@dataclass(frozen=True)
class Header:
    """What a part says of its run: `run` is the same in all parts of one, `labels` and `about` are those of what ran."""

    run: str
    pictures: str
    source: str
    fps: float | None
    live: bool
    labels: tuple[str, ...]
    about: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Recorded:
    """One frame of a recording. `position_s` counts from the recording's first frame: by the position in a film that was recorded,
    of a camera by the moments of capture, of pictures by their number."""

    header: Header
    line: Mapping[str, Any]
    picture: bytes
    class_map: bytes | None
    position_s: float

    @property
    def index(self) -> int:
        return int(self.line["frame"])

    @property
    def source(self) -> str:
        return str(self.line["source"])

    @cached_property
    def image(self) -> Image | None:
        """The picture BGR uint8 (H, W, 3); None when it is damaged."""
        decoded = cv2.imdecode(np.frombuffer(self.picture, np.uint8), cv2.IMREAD_COLOR) if self.picture else None
        return None if decoded is None else np.asarray(decoded, np.uint8)

    @cached_property
    def result(self) -> Result:
        """What the run found; boxes are rounded to hundredths of a pixel, scores to four digits."""
        if "semantic" in self.line:
            return SemanticMap(self._map())
        if "panoptic" in self.line:
            blue, green, red = (channel.astype(np.int32) for channel in cv2.split(self._map()))
            return PanopticMap(blue + (green << 8) + (red << 16), tuple(map(_segment, self.line["panoptic"])))
        return _detections(self.line["detections"])

    def _map(self) -> npt.NDArray[Any]:
        decoded = cv2.imdecode(np.frombuffer(self.class_map or b"\0", np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None:
            raise SourceError(f"frame {self.index} of {self.source}: its map in the recording is damaged")
        return np.asarray(decoded)


class Recording:
    """The frames of the folder `path`, in order; SourceError when it is no recording. `skipped` counts what is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        # A run that was killed at its very beginning leaves a part without its header.
        self.parts = [part for part in part_files(path) if b"\n" in _first_bytes(part)]
        if not self.parts:
            raise SourceError(f"{path} is no recording: there is no 000001.jsonl; record one with --sink record:{path}")
        self.header = _header(self.parts[0])

    @property
    def fps(self) -> float | None:
        """The rate of the frames that are there, of one source, as the first of them tell it; those that the run had no time for
        are not."""
        lines = list(islice(self._lines(self.parts[0]), _RATE_LINES))
        times = [_time_s(self.header, line) for line in lines if line["source"] == lines[0]["source"]]
        gaps = np.diff(times)
        return 1 / float(np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else self.header.fps

    def __len__(self) -> int:
        """How many lines there are; a few more than frames when some are damaged."""
        return sum(max(0, _lines_in(part) - 1) for part in self.parts)

    def __iter__(self) -> Iterator[Recorded]:
        self.skipped = 0
        clock = _Clock()
        for part in self.parts:
            header = _header(part)
            with _Stored(part, header) as stored:
                for line in self._lines(part):
                    found = stored.of(line)
                    if found is None:
                        self.skipped += 1
                        continue
                    yield Recorded(header, line, *found, clock.position_s(header, line))

    def _lines(self, part: Path) -> Iterator[dict[str, Any]]:
        with part.open("rb") as file:
            next(file)
            for line in map(_read_line, file):
                if line is None:
                    self.skipped += 1
                    _log.warning("%s: a line is cut off or damaged, its frame is left out", part)
                else:
                    yield line


def part_files(folder: Path) -> list[Path]:
    """The parts of a recording, in order."""
    try:
        return sorted(path for path in folder.iterdir() if _PART.fullmatch(path.name))
    except OSError as err:
        raise SourceError(f"recording {folder} cannot be read: {err.strerror or err}; check the path") from err


def encoded_map(result: Result) -> bytes | None:
    """The PNG that keeps a class map (grey, 8 or 16 bits) or a panoptic map (segment id = blue + 256 green + 65536 red)."""
    if isinstance(result, Detections):
        return None
    if isinstance(result, SemanticMap):
        ids = result.class_ids
        picture: npt.NDArray[np.integer[Any]] = ids.astype(np.uint8 if ids.max(initial=0) < 256 else np.uint16)
    else:
        picture = np.stack([(result.segment_ids >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)], axis=2)
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


class _Clock:
    """Counts on over the runs of a recording; the clock of the next one may have begun anew."""

    def __init__(self) -> None:
        self._run = ""
        self._base_s = self._first_s = self._last_s = 0.0

    def position_s(self, header: Header, line: Mapping[str, Any]) -> float:
        if header.run != self._run:
            self._base_s = self._last_s + 1 / (header.fps or _USUAL_FPS) if self._run else 0.0
            self._run, self._first_s = header.run, _time_s(header, line)
        self._last_s = max(self._last_s, self._base_s + _time_s(header, line) - self._first_s)
        return self._last_s


def _time_s(header: Header, line: Mapping[str, Any]) -> float:
    """The time that a tracker went by in the recorded run, so that one goes by the same when it is replayed."""
    if "media_time_s" in line:
        return float(line["media_time_s"])
    return float(line["time_s"]) if header.live else int(line["frame"]) / (header.fps or _USUAL_FPS)


class _Stored:
    """The files that the lines of a part point into."""

    def __init__(self, part: Path, header: Header) -> None:
        self._pictures = _opened(part.with_suffix(header.pictures))
        self._maps = _opened(part.with_suffix(MAPS))

    def of(self, line: Mapping[str, Any]) -> tuple[bytes, bytes | None] | None:
        """Picture and map of a line; None when they are not there."""
        picture = _cut(self._pictures, line["picture"])
        class_map = _cut(self._maps, line["map"]) if "map" in line else None
        if picture is None or ("map" in line and class_map is None):
            return None
        return picture, class_map

    def __enter__(self) -> "_Stored":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._pictures, self._maps):
            if file is not None:
                file.close()


def _opened(path: Path) -> BinaryIO | None:
    return path.open("rb") if path.is_file() else None


def _cut(file: BinaryIO | None, place: Sequence[int]) -> bytes | None:
    if file is None:
        return None
    file.seek(place[0])
    found = file.read(place[1])
    return found if len(found) == place[1] else None


def _first_bytes(part: Path) -> bytes:
    try:
        with part.open("rb") as file:
            return file.readline()
    except OSError as err:
        raise SourceError(f"{part} cannot be read: {err.strerror or err}; check its permissions") from err


def _header(part: Path) -> Header:
    try:
        with part.open("rb") as file:
            found = json.loads(file.readline())
        if found["recording"] != FORMAT:
            raise SourceError(f"{part} is of format {found['recording']}, this version reads {FORMAT}; record again")
        return Header(
            found["run"],
            found["pictures"],
            found["source"],
            found["fps"],
            found["live"],
            tuple(found["labels"]),
            found["about"],
        )
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise SourceError(f"{part} does not begin as a part of a recording does ({err}); remove it") from err


def _read_line(text: bytes) -> dict[str, Any] | None:
    try:
        line: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return line


def _lines_in(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _segment(found: Mapping[str, Any]) -> Segment:
    return Segment(found["segment_id"], found["class_id"], found["is_thing"], found["score"])


def _detections(found: Sequence[Mapping[str, Any]]) -> Detections:
    edges = [[np.nan if edge is None else edge for edge in thing["box"]] for thing in found]
    ids = [thing["track_id"] for thing in found if "track_id" in thing]
    return Detections(
        np.array(edges, np.float32).reshape(-1, 4),
        np.array([np.nan if thing["score"] is None else thing["score"] for thing in found], np.float32),
        np.array([thing["class_id"] for thing in found], np.int64),
        tuple(mask_of_runs(thing["mask"]["counts"], thing["mask"]["size"]) for thing in found)
        if found and all("mask" in thing for thing in found)
        else None,
        np.array([-1 if track is None else track for track in ids], np.int64)
        if found and len(ids) == len(found)
        else None,
    )
