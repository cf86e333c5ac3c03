"""Videos in the layout of DAVIS 2017, every frame with a map of its objects: `davis:ROOT[:SPLIT]`."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from edgewright.pipeline.datasets import Sample, VideoDataset
from edgewright.pipeline.datasets._class_mask import SUFFIXES, ClassMask, read_class_mask
from edgewright.pipeline.datasets._digests import image_sha256
from edgewright.pipeline.datasets._image_size import image_size
from edgewright.pipeline.datasets._paths import read_list
from edgewright.runtime.errors import DataError
from edgewright.runtime.plugins import suggestion
from edgewright.runtime.sources import IMAGE_SUFFIXES
from edgewright.runtime.sources.images import natural_key, read_image

_WANTED = "davis:ROOT[:SPLIT]"
_PARTS = ("JPEGImages", "Annotations")
_SETS = Path("ImageSets", "2017")


@dataclass(frozen=True)
class _Frame:
    image: Path
    objects: Path


@dataclass(frozen=True)
class _Video:
    name: str
    frames: tuple[_Frame, ...]


@dataclass(frozen=True, eq=False)
class DavisVideos(VideoDataset):
    """The videos of a split in its order, their frames in natural order; image ids count from 1 over all frames."""

    root: Path
    split: str
    content: tuple[_Video, ...]

    @property
    def uri(self) -> str:
        return f"davis:{self.root}:{self.split}"

    @cached_property
    def digest(self) -> str:
        lines = []
        for video in self.content:
            lines.append(f"video {video.name}")
            lines += [f"{image_sha256(frame.image)} {image_sha256(frame.objects)}" for frame in video.frames]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @cached_property
    def videos(self) -> dict[str, tuple[int, ...]]:
        found, start = {}, 1
        for video in self.content:
            found[video.name] = tuple(range(start, start + len(video.frames)))
            start += len(video.frames)
        return found

    @cached_property
    def _frames(self) -> tuple[_Frame, ...]:
        return tuple(frame for video in self.content for frame in video.frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Sample]:
        for number, frame in enumerate(self._frames, start=1):
            yield Sample(number, frame.image, partial(read_image, frame.image))

    def first(self, count: int) -> "DavisVideos":
        kept: list[_Video] = []
        for video in self.content:
            if count > 0:
                kept.append(replace(video, frames=video.frames[:count]))
            count -= len(video.frames)
        return replace(self, content=tuple(kept))

    def object_numbers(self, image_id: int) -> ClassMask:
        return read_class_mask(self._frames[image_id - 1].objects)


def load(arguments: str) -> DavisVideos:
    """The videos that ImageSets/2017/SPLIT.txt lists, `val` by default; DataError where a frame has no annotation.

    Frames are those of 480p, or of the only resolution that there is.
    """
    root, split = _split(arguments)
    names = _listed(root, split)
    images_dir, objects_dir = (_resolution(root / part, names) for part in _PARTS)
    return DavisVideos(root, split, tuple(_video(images_dir, objects_dir, name) for name in names))


def _split(arguments: str) -> tuple[Path, str]:
    """A root may contain ':' itself."""
    root, _, split = arguments.rpartition(":")
    if Path(arguments).is_dir() or not root:
        return Path(arguments), "val"
    return Path(root), split


def _listed(root: Path, split: str) -> list[str]:
    for part in (*_PARTS, _SETS):
        if not (root / part).is_dir():
            raise DataError(f"{root}: has no folder {part}; give the folder DAVIS of DAVIS 2017 ({_WANTED})")
    file = root / _SETS / f"{split}.txt"
    if not file.is_file():
        known = sorted(path.stem for path in file.parent.glob("*.txt"))
        raise DataError(
            f"{root}: has no split '{split}'{suggestion(split, known)} ({file} is missing); there are: "
            f"{', '.join(known) or 'none'}; write {_WANTED}"
        )
    names = [line.strip() for line in read_list(file) if line.strip()]
    if not names:
        raise DataError(f"{file}: the list of videos is empty; give another split")
    if len(set(names)) < len(names):
        twice = min(name for name in names if names.count(name) > 1)
        raise DataError(f"{file}: lists '{twice}' more than once; every video counts once")
    return names


def _resolution(folder: Path, names: Sequence[str]) -> Path:
    known = sorted(path.name for path in folder.iterdir() if path.is_dir())
    chosen = folder / ("480p" if "480p" in known or len(known) != 1 else known[0])
    missing = [name for name in names if not (chosen / name).is_dir()]
    if missing:
        few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"{chosen}: {len(missing)} of {len(names)} videos are not in this folder ({few}); complete the data"
        )
    return chosen


def _video(images_dir: Path, objects_dir: Path, name: str) -> _Video:
    images, objects = _pictures(images_dir / name, IMAGE_SUFFIXES), _pictures(objects_dir / name, SUFFIXES)
    if not images:
        raise DataError(f"{images_dir / name}: has no picture; complete the data")
    missing = [stem for stem in images if stem not in objects]
    if missing:
        raise DataError(
            f"{objects_dir / name}: {len(missing)} of {len(images)} frames have no annotation (the first is {missing[0]}.png), so "
            "they cannot be scored; give a split that is annotated throughout, such as val"
        )
    frames = tuple(_Frame(path, objects[stem]) for stem, path in images.items())
    for frame in frames:
        _check_size(frame)
    return _Video(name, frames)


def _pictures(folder: Path, suffixes: frozenset[str]) -> dict[str, Path]:
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in suffixes), key=natural_key)
    return {path.stem: path for path in paths if not path.name.startswith(".")}


def _check_size(frame: _Frame) -> None:
    ours, theirs = image_size(frame.image), image_size(frame.objects)
    if ours != theirs:
        raise DataError(
            f"{frame.objects}: is {theirs[0]} wide and {theirs[1]} high, its frame {ours[0]} and {ours[1]}; give the annotations "
            "of these pictures"
        )
