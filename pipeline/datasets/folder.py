"""A plain folder of images without labels: `DIR` or `folder:DIR`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from edgewright.pipeline.datasets import Dataset, Sample
from edgewright.pipeline.datasets._images import SUFFIXES, file_digest, read_image
from edgewright.runtime.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageFolder(Dataset):
    """The images of a folder in the order of their names; image ids count from 1."""

    folder: Path
    paths: tuple[Path, ...]

    @property
    def uri(self) -> str:
        return str(self.folder)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(map(file_digest, self.paths)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Sample]:
        for number, path in enumerate(self.paths, start=1):
            yield Sample(number, path, partial(read_image, path))

    def first(self, count: int) -> "ImageFolder":
        return replace(self, paths=self.paths[:count])


def load(arguments: str) -> ImageFolder:
    """The images directly in the folder `arguments`; DataError when there is no folder or no image in it."""
    folder = Path(arguments)
    if not folder.is_dir():
        raise DataError(
            f"data '{arguments}': there is no such folder; give an image folder, or coco:IMAGES_DIR:ANNOTATIONS.json"
        )
    paths = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES))
    if not paths:
        raise DataError(f"{folder}: no image in this folder; files ending in {', '.join(sorted(SUFFIXES))} are read")
    return ImageFolder(folder, paths)
