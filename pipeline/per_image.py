"""What became of every detection of every image, in a file beside the report; the gate resamples it."""

import logging
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.metrics.matched_scores import MatchedScores
from edgewright.pipeline.metrics.matches import Matches, match_boxes, match_masks
from edgewright.pipeline.report.schema import PerImageFile, Report, load_report, merge
from edgewright.pipeline.statistics import Ints
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.bundle import file_sha256
from edgewright.runtime.errors import DataError

log = logging.getLogger(__name__)

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class PerImage:
    """Matches by what is put before the names of their measurements: "" of boxes, "mask-" of masks."""

    matches: Mapping[str, Matches]

    def scores(self, names: Collection[str]) -> "_Together":
        """Those of the names that can be measured from the matches, to be resampled."""
        return _Together([MatchedScores(m, names=names, prefix=prefix) for prefix, m in self.matches.items()])

    def same_images(self, other: "PerImage") -> bool:
        """Whether image i is the same in both."""
        return all(np.array_equal(a.image_ids, b.image_ids) for a in self._every() for b in other._every())

    def _every(self) -> Collection[Matches]:
        return self.matches.values()


def matched(
    truth: dict[str, Any], masks: dict[str, Any] | None, results: Sequence[Any], *, max_detections: int
) -> PerImage:
    """COCO results matched to the labels by boxes and, where the labels with masks are given, by masks too."""
    boxes = {"": match_boxes(truth, results, max_detections=max_detections)}
    if masks is None:
        return PerImage(boxes)
    return PerImage({**boxes, "mask-": match_masks(masks, results, max_detections=max_detections)})


def read_side(paths: Sequence[str | Path]) -> tuple[Report, PerImage | None]:
    """One side of a gate: its reports merged, and the results image by image that one of them refers to.

    A file of results that is not beside its report is warned of; DataError when it is not the report's.
    """
    reports = [load_report(path) for path in paths]
    found = None
    for path, report in zip(paths, reports, strict=True):
        if report.per_image is not None and found is None:
            found = load_per_image(path, report.per_image)
            if found is None:
                log.warning(
                    "%s: %s is not beside it; copy it there to judge drops by intervals", path, report.per_image.file
                )
    return merge(reports), found


def save_per_image(path: Path | str, results: PerImage) -> PerImageFile:
    """Write the file and return what a report says of it."""
    arrays: dict[str, npt.NDArray[np.generic]] = {"format": np.array(_FORMAT)}
    for prefix, matches in results.matches.items():
        arrays |= {f"{prefix}matches.{key}": np.asarray(value) for key, value in _columns(matches).items()}
    with atomic_file(path) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        digest = file_sha256(temporary)
    return PerImageFile(file=Path(path).name, sha256=digest)


def load_per_image(report: Path | str, reference: PerImageFile) -> PerImage | None:
    """The results that the report in file `report` refers to, None when they are not beside it; DataError when damaged."""
    path = Path(report).parent / reference.file
    if not path.is_file():
        return None
    if file_sha256(path) != reference.sha256:
        raise DataError(f"{path}: these are not the per-image results of {report} (sha256 differs); evaluate again")
    try:
        with np.load(path, allow_pickle=False) as file:
            return _read({key: file[key] for key in file.files})
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as err:
        raise DataError(f"{path}: these per-image results cannot be read ({err}); evaluate again") from err


class _Together:
    """Several scores of the same images as one."""

    def __init__(self, parts: Collection[MatchedScores]) -> None:
        self._parts = parts
        self.names = tuple(name for part in parts for name in part.names)
        self.images = max((part.images for part in parts), default=0)

    def values(self, weights: Ints) -> npt.NDArray[np.float64]:
        return np.concatenate([part.values(weights) for part in self._parts])

    def support(self) -> Ints:
        return np.concatenate([part.support() for part in self._parts])


def _columns(matches: Matches) -> dict[str, object]:
    return {field.name: getattr(matches, field.name) for field in fields(matches)}


def _read(arrays: Mapping[str, npt.NDArray[np.generic]]) -> PerImage:
    if arrays["format"] != _FORMAT:
        raise ValueError(f"format {arrays['format']}, this version reads {_FORMAT}")
    prefixes = [key.removesuffix("matches.image_ids") for key in arrays if key.endswith("matches.image_ids")]
    return PerImage({prefix: _matches(prefix, arrays) for prefix in prefixes})


def _matches(prefix: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Matches:
    columns: dict[str, Any] = {field.name: arrays[f"{prefix}matches.{field.name}"] for field in fields(Matches)}
    plain = {"categories": tuple(columns["categories"].tolist()), "max_detections": int(columns["max_detections"])}
    return Matches(**{**columns, **plain})
