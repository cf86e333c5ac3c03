"""Parts of a data set that are measured by themselves, such as dark images: "AP@dark"."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from pydantic import RootModel

from edgewright.pipeline.console import progress
from edgewright.pipeline.datasets import Dataset, Sample
from edgewright.pipeline.metrics.image_sums import Ints
from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.report.schema import Measurement
from edgewright.pipeline.yaml_file import load_yaml
from edgewright.runtime.errors import UsageError

BRIGHTNESS = "brightness"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class _Lists(RootModel[dict[str, list[str | int]]]):
    """Images by name of the slice: names of files, with or without suffix, or numbers of images."""


# ITU-R BT.601, of blue, green and red.
_LUMA = np.array([0.114, 0.587, 0.299])


def read_slices(names: Sequence[str], dataset: Dataset) -> dict[str, Ints]:
    """The ids of the images of every slice that is asked for, in rising order: `brightness`, or YAML files of lists.

    `brightness` makes two, `dark` and `bright`: the quarter of the images with the lowest, and with the highest, mean luma; it
    looks at every image. UsageError for an unknown image or a bad name.
    """
    found: dict[str, Ints] = {}
    for name in dict.fromkeys(names):
        made = _of_brightness(dataset) if name == BRIGHTNESS else _read(Path(name), dataset)
        twice = sorted(made.keys() & found.keys())
        if twice:
            raise UsageError(f"{name}: there is a slice '{twice[0]}' already; give each a name of its own")
        found |= made
    return found


def measured_slices(results: PerImage) -> tuple[Measurement, ...]:
    """The measurements of the summary, without those of single classes, of every slice as "AP@dark"."""
    whole = [name for name in results.scores().names if "/" not in name]
    wanted = [f"{name}@{one}" for one in results.slices for name in whole]
    scores = results.scores(wanted)
    values = zip(scores.names, scores.values(np.ones(scores.images, np.int64)).tolist(), strict=True)
    return tuple(
        Measurement(name=name, value=value, unit="fraction", higher_is_better=True)
        for name, value in values
        if np.isfinite(value)
    )


def _read(path: Path, dataset: Dataset) -> dict[str, Ints]:
    lists = load_yaml(path, _Lists).root
    known: dict[str, set[int]] = {}
    for sample in dataset:
        names = () if sample.path is None else (sample.path.name, sample.path.stem)
        for word in (str(sample.image_id), *names):
            known.setdefault(word, set()).add(sample.image_id)
    found = {}
    for name, images in lists.items():
        if not _NAME.fullmatch(name):
            raise UsageError(f"{path}: a slice is called '{name}', wanted letters, digits and -_. only")
        if not images:
            raise UsageError(f"{path}: slice '{name}' lists no image; list some, or remove it")
        strange = [image for image in images if str(image) not in known]
        if strange:
            raise UsageError(
                f"{path}: slice '{name}' lists {strange[0]!r} ({len(strange)} of {len(images)} are unknown), which is no image of "
                f"{dataset.uri}; give names of files or numbers of images"
            )
        doubtful = next((image for image in images if len(known[str(image)]) > 1), None)
        if doubtful is not None:
            raise UsageError(
                f"{path}: slice '{name}' lists {doubtful!r}, which may be any of the images {sorted(known[str(doubtful)])[:5]} of "
                f"{dataset.uri}; give names of files with their suffix, or numbers of images that are no names"
            )
        found[name] = np.array(sorted({number for image in images for number in known[str(image)]}), np.int64)
    return found


def _of_brightness(dataset: Dataset) -> dict[str, Ints]:
    luma = {sample.image_id: float(np.dot(cv2.mean(sample.image())[:3], _LUMA)) for sample in _seen(dataset)}
    # Whole grey levels: decoders differ by less, and equal ones are told apart by their number.
    order = np.array(sorted(luma, key=lambda image_id: (round(luma[image_id]), image_id)), np.int64)
    quarter = max(1, len(order) // 4)
    return {"dark": np.sort(order[:quarter]), "bright": np.sort(order[-quarter:])}


def _seen(dataset: Dataset) -> Iterable[Sample]:
    return progress(dataset, total=len(dataset), description="brightness")
