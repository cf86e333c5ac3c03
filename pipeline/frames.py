"""The pictures that a benchmark runs on."""

import hashlib
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np

from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BundleError, SourceError
from edgewright.runtime.results import Image
from edgewright.runtime.uri import masked

# Enough for the caches and branches of the processor to see something new, few enough to keep decoded in memory.
_MOST_FRAMES = 16


@dataclass(frozen=True, eq=False)
class Frames:
    """Decoded pictures BGR uint8 (H, W, 3) and where they came from; `digest` covers their pixels."""

    images: tuple[Image, ...]
    origin: str
    digest: str

    @property
    def size(self) -> str:
        """ "480x640" (height, width) of the pictures, or how many sizes they have."""
        sizes = {f"{image.shape[0]}x{image.shape[1]}" for image in self.images}
        return sizes.pop() if len(sizes) == 1 else f"{len(sizes)} sizes"


def benchmark_frames(bundle: Bundle, source: str | None = None) -> Frames:
    """The first frames of a source; None: the bundle's golden image, or a rendered scene where it has none.

    Never noise: how much the head and NMS have to do depends on what is in the picture.
    """
    if source is not None:
        return _frames(_read_source(source), masked(source))
    golden = bundle.manifest.golden
    if golden is not None:
        return _frames((_read_image(bundle, golden.image),), "the bundle's golden image")
    return _frames(_read_source("synthetic:0:4"), "synthetic:0:4")


def _frames(images: tuple[Image, ...], origin: str) -> Frames:
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr(image.shape).encode())
        digest.update(image.tobytes())
    return Frames(images, origin, digest.hexdigest())


def _read_source(uri: str) -> tuple[Image, ...]:
    from edgewright.runtime.sources import open_source

    with open_source(uri) as source:
        images = tuple(frame.image.copy() for frame in islice(source, _MOST_FRAMES))
    if not images:
        raise SourceError(f"source '{masked(uri)}' gives no frame; choose another for --frames")
    return images


def _read_image(bundle: Bundle, name: str) -> Image:
    image = cv2.imread(str(bundle.file(name)), cv2.IMREAD_COLOR)
    if image is None:
        raise BundleError(f"{bundle.file(name)} is not a readable image; export the bundle again")
    return np.asarray(image, np.uint8)
