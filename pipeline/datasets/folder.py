"""Images without labels: a plain folder, `DIR` or `folder:DIR`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from edgewright.pipeline.datasets import Dataset, Sample
from edgewright.pipeline.datasets._digests import image_sha256
from edgewright.runtime.errors import DataError
from edgewright.runtime.sources.images import find_images, read_image


@dataclass(frozen=True, eq=False)
class ImageFolder(Dataset):
    """The images of a folder in natural order (2 before 10); image ids count from 1."""

    folder: Path
    paths: tuple[Path, ...]

    @property
    def uri(self) -> str:
        return str(self.folder)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(map(image_sha256, self.paths)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Sample]:
        for number, path in enumerate(self.paths, start=1):
            yield Sample(number, path, partial(read_image, path))

    def first(self, count: int) -> "ImageFolder":
        return replace(self, paths=self.paths[:count])


def load(arguments: str) -> ImageFolder:
    """The images directly in the folder `arguments`; DataError or SourceError when there are none."""
    folder = Path(arguments)
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "there is no such folder"
        raise DataError(f"data '{arguments}': {problem}; give an image folder, or coco:IMAGES_DIR:ANNOTATIONS.json")
    return ImageFolder(folder, find_images(str(folder)))
