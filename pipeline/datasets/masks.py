"""Images beside class masks of the same names: `masks:IMAGES_DIR:MASKS_DIR`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from edgewright.pipeline.datasets import MaskDataset, Sample
from edgewright.pipeline.datasets._class_mask import SUFFIXES, ClassMask, read_class_mask
from edgewright.pipeline.datasets._digests import image_sha256
from edgewright.pipeline.datasets._paths import split_paths
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.sources.images import find_images, read_image

_WANTED = "masks:IMAGES_DIR:MASKS_DIR"


@dataclass(frozen=True, eq=False)
class MaskFolder(MaskDataset):
    """The images of a folder in natural order, each with the mask of its name; image ids count from 1."""

    images_dir: Path
    masks_dir: Path
    pairs: tuple[tuple[Path, Path], ...]

    @property
    def uri(self) -> str:
        return f"masks:{self.images_dir}:{self.masks_dir}"

    @cached_property
    def digest(self) -> str:
        files = (path for pair in self.pairs for path in pair)
        return hashlib.sha256("\n".join(map(image_sha256, files)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Sample]:
        for number, (image, _) in enumerate(self.pairs, start=1):
            yield Sample(number, image, partial(read_image, image))

    def first(self, count: int) -> "MaskFolder":
        return replace(self, pairs=self.pairs[:count])

    def class_mask(self, image_id: int) -> ClassMask:
        return read_class_mask(self.pairs[image_id - 1][1])


def load(arguments: str) -> MaskFolder:
    """The data set of `IMAGES_DIR:MASKS_DIR`; DataError when a folder is missing, or an image has no mask."""
    images_dir, masks_dir = _split(arguments)
    for folder in (images_dir, masks_dir):
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder (read from '{_WANTED}'); check the path")
    masks = _masks_by_name(masks_dir)
    images = find_images(str(images_dir))
    missing = [image.name for image in images if image.stem not in masks]
    if missing:
        few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"{masks_dir}: {len(missing)} of {len(images)} images have no mask of their name ({few}); a.jpg wants a.png "
            f"(there are {len(masks)} masks, such as {min(masks, default='none')})"
        )
    return MaskFolder(images_dir, masks_dir, tuple((image, masks[image.stem]) for image in images))


def _masks_by_name(folder: Path) -> dict[str, Path]:
    masks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            if path.stem in masks:
                raise DataError(f"{folder}: {masks[path.stem].name} and {path.name} are masks of one image; remove one")
            masks[path.stem] = path
    return masks


def _split(arguments: str) -> tuple[Path, Path]:
    parts = split_paths(arguments, [lambda path: Path(path).is_dir()] * 2)
    if parts is None:
        raise UsageError(f"data 'masks:{arguments}' needs a folder of images and a folder of masks; write {_WANTED}")
    return Path(parts[0]), Path(parts[1])
