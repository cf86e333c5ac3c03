"""Where frames come from: one file per source, named by the word before ':' of its URI (`video:clip.mp4`)."""

import glob
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import cv2

from edgewright.runtime import plugins
from edgewright.runtime.errors import SourceError
from edgewright.runtime.results import Frame
from edgewright.runtime.uri import masked, split_word, take_options

# The files that a folder's pictures are known by; those of cv2.imread with 8 or 16 bits a sample.
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp")
) | frozenset((".avif", ".pbm", ".pgm", ".ppm", ".pnm"))

VIEW_OPTIONS = ("rotate", "crop", "resize")


class Source(ABC):
    """Frames in order, read while they are iterated, once; close it, or use it in `with`.

    `length` is how many frames are expected, None without end or unknown; a video's header may be wrong about it.
    `fps` is the rate at which the frames were or are taken. `live` frames come at their own pace. One that `reopens` has no end
    of its own, and may come back when it is opened again. One that gives frames `on_demand` keeps its newest until somebody asks.
    `labels` names the classes of `Frame.truth`, None when the source is not labelled. `skipped` counts what could not be read so
    far, and `dropped` what came while nobody took it.
    """

    name: str
    length: int | None = None
    fps: float | None = None
    live: bool = False
    reopens: bool = False
    on_demand: bool = False
    labels: tuple[str, ...] | None = None
    skipped: int = 0
    dropped: int = 0

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames, each with its position in the source as `index`; SourceError when the source fails."""

    def batches(self, size: int) -> Iterator[Sequence[Frame]]:
        """The frames of the iteration, up to `size` at a time where the source is made for that, else one by one."""
        return ((frame,) for frame in self)

    def interrupt(self) -> None:  # noqa: B027 - most sources do not wait
        """Let an iteration that waits, mostly in another thread, end soon; for a signal handler too, so it takes no lock."""

    def close(self) -> None:  # noqa: B027 - a source without a device or an open file has nothing to give back
        """Give the device or file back; harmless when repeated."""

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, _: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_source(uri: str) -> Source:
    """The source that `uri` names: `word:location`, mostly with `?option=value&...`, or a plain path or glob pattern.

    A module of this package with the name of the word offers `from_uri(what follows the colon) -> Source`. Plain paths are
    taken for what they are: an image, a folder or glob pattern of images, a camera device, else a video. Behind a word, every
    source has the options `rotate`, `crop` and `resize`.
    """
    parts = split_word(uri)
    if parts is None or (parts[0] not in plugins.names(__name__) and os.path.lexists(uri)):
        source: Source = plugins.load(__name__, _word_for_path(uri)).from_uri(uri)
        return source
    location, options = take_options(parts[1], VIEW_OPTIONS)
    source = plugins.load(__name__, parts[0]).from_uri(location)
    if not options:
        return source
    from edgewright.runtime.sources._view import view  # which is built on this module

    return view(source, options)


def _word_for_path(uri: str) -> str:
    if not uri:
        raise SourceError("the source is empty; name a file, a folder, or for example camera:0")
    path = Path(uri)
    if path.is_dir():
        return "images"
    if path.is_char_device():
        return "camera"
    if path.exists():
        return "images" if _holds_an_image(path) else "video"
    if glob.has_magic(uri):
        return "images"
    advice = f"for camera {uri} say camera:{uri}" if uri.isdecimal() else "check the path"
    raise SourceError(f"source '{masked(uri)}': there is no such file or folder; {advice}")


def _holds_an_image(path: Path) -> bool:
    """By suffix, since a damaged picture must not be called a bad video; by content where the suffix says nothing."""
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix != ".gif" and path.is_file() and cv2.haveImageReader(str(path)))
