"""What became of every image, in a file beside the report; the gate resamples it."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.array_file import Arrays, from_arrays, to_arrays
from edgewright.pipeline.metrics.boundary import BoundaryCounts, match_boundaries
from edgewright.pipeline.metrics.confusion import ObjectConfusion, best_thresholds, object_confusion
from edgewright.pipeline.metrics.image_sums import Ints
from edgewright.pipeline.metrics.matched_scores import MatchedScores
from edgewright.pipeline.metrics.matches import Matches, match_boxes, match_masks
from edgewright.pipeline.metrics.panoptic import SegmentCounts
from edgewright.pipeline.metrics.prompted import PromptedOverlaps
from edgewright.pipeline.metrics.proposals import RegionCounts, count_regions
from edgewright.pipeline.metrics.ranked import Ranked, coco_ranked, voc_ranked
from edgewright.pipeline.metrics.semantic import PixelCounts
from edgewright.pipeline.metrics.video_means import VideoMeans
from edgewright.pipeline.report.schema import PerImageFile, Report, load_report, merge
from edgewright.pipeline.statistics import Resampleable
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.bundle import file_sha256
from edgewright.runtime.errors import DataError
from edgewright.runtime.npz_file import read_npz

log = logging.getLogger(__name__)

_FORMAT = 1
PARTS: Mapping[str, type[Any]] = {
    "voc": Ranked,
    "confusion": ObjectConfusion,
    "any_class": RegionCounts,
    "proposals": RegionCounts,
    "pixels": PixelCounts,
    "boundaries": BoundaryCounts,
    "segments": SegmentCounts,
    "prompted": PromptedOverlaps,
    "videos": VideoMeans,
}


class Part(Protocol):
    """Results of every image, from which measurements follow; a dataclass of arrays, texts and numbers."""

    @property
    def image_ids(self) -> Ints: ...

    def of_images(self, images: Ints) -> "Part": ...

    def scores(self, names: Collection[str] | None = None) -> Resampleable: ...


@dataclass(frozen=True, eq=False)
class PerImage:
    """What was found image by image, all of the same images; None is what the task does not have.

    `matches` are by what is put before the names of their measurements: "" of boxes, "mask-" of masks, "boundary-" of their
    boundaries. `any_class` is what all boxes find whatever their class, `slices` are ids of images by name. Of videos, an
    "image" is a whole video.
    """

    matches: Mapping[str, Matches] = field(default_factory=dict)
    voc: Ranked | None = None
    confusion: ObjectConfusion | None = None
    any_class: RegionCounts | None = None
    proposals: RegionCounts | None = None
    pixels: PixelCounts | None = None
    boundaries: BoundaryCounts | None = None
    segments: SegmentCounts | None = None
    prompted: PromptedOverlaps | None = None
    videos: VideoMeans | None = None
    slices: Mapping[str, Ints] = field(default_factory=dict)

    def scores(self, names: Collection[str] | None = None) -> "_Together":
        """Those of the names that can be measured, to be resampled; "AP@dark" is AP of the images of the slice `dark`."""
        whole = None if names is None else {name for name in names if "@" not in name}
        parts = [scored.scores(whole) for scored in self._scored()]
        for slice_name, ids in self.slices.items():
            wanted = {name.rpartition("@")[0] for name in names or () if name.endswith(f"@{slice_name}")}
            members = np.flatnonzero(np.isin(self.image_ids, ids))
            parts += [_OfSlice(part.of_images(members).scores(wanted), members, slice_name, len(self.image_ids))
                      for part in self._scored() if wanted]  # fmt: skip
        return _Together(parts)

    @property
    def image_ids(self) -> Ints:
        """The ids of the images, in the order of the weights of `scores`."""
        every = [*self.matches.values(), *self.parts().values()]
        return every[0].image_ids if every else np.zeros(0, np.int64)

    @property
    def sampled(self) -> str:
        """What is drawn by chance in resamples: "images" or "videos"."""
        return "images" if self.videos is None else "videos"

    def same_images(self, other: "PerImage") -> bool:
        """Whether image i is the same in both, and slices of one name hold the same."""
        both = self.slices.keys() & other.slices.keys()
        return np.array_equal(self.image_ids, other.image_ids) and all(
            np.array_equal(self.slices[name], other.slices[name]) for name in both
        )

    def parts(self) -> dict[str, Any]:
        """What there is beside the matches, by the name of its field."""
        return {name: getattr(self, name) for name in PARTS if getattr(self, name) is not None}

    def _scored(self) -> Iterator[Part]:
        for prefix, matches in self.matches.items():
            yield _Matched(matches, prefix)
        if "" in self.matches:
            yield coco_ranked(self.matches[""])
        yield from (part for name, part in self.parts().items() if name != "confusion")


@dataclass(frozen=True, eq=False)
class _Matched:
    """Matches whose measurements have something put before their names."""

    matches: Matches
    prefix: str

    @property
    def image_ids(self) -> Ints:
        return self.matches.image_ids

    def of_images(self, images: Ints) -> "_Matched":
        return _Matched(self.matches.of_images(images), self.prefix)

    def scores(self, names: Collection[str] | None = None) -> MatchedScores:
        return MatchedScores(self.matches, names=names, prefix=self.prefix)


@dataclass(frozen=True, eq=False)
class _OfSlice:
    """Scores of some images as a function of how often every image occurs; their names end with the slice's."""

    inner: Resampleable
    members: Ints
    slice_name: str
    images: int

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{name}@{self.slice_name}" for name in self.inner.names)

    def values(self, weights: Ints) -> npt.NDArray[np.float64]:
        return self.inner.values(weights[self.members])

    def support(self) -> Ints:
        return self.inner.support()


class _Together:
    """Several scores of the same images as one."""

    def __init__(self, parts: Collection[Resampleable]) -> None:
        self._parts = [part for part in parts if part.names]
        self.names = tuple(name for part in self._parts for name in part.names)
        self.images = max((part.images for part in parts), default=0)

    def values(self, weights: Ints) -> npt.NDArray[np.float64]:
        return np.concatenate([np.zeros(0), *(part.values(weights) for part in self._parts)])

    def support(self) -> Ints:
        return np.concatenate([np.zeros(0, np.int64), *(part.support() for part in self._parts)])


def matched(
    truth: dict[str, Any],
    masks: dict[str, Any] | None,
    results: Sequence[Any],
    *,
    max_detections: int,
    proposals: Sequence[Any] | None = None,
) -> PerImage:
    """COCO results matched to the labels by boxes, by COCO's rules and by VOC's, with and without their classes.

    By masks and their boundaries too, where the labels with masks are given; and the `proposals` that the network was fed.
    """
    matches = {"": match_boxes(truth, results, max_detections=max_detections)}
    if masks is not None:
        matches["mask-"] = match_masks(masks, results, max_detections=max_detections)
        matches["boundary-"] = match_boundaries(masks, results, max_detections=max_detections)
    return PerImage(
        matches,
        voc=voc_ranked(truth, results),
        confusion=object_confusion(truth, results, best_thresholds(coco_ranked(matches[""]))),
        any_class=count_regions(truth, results, prefix="any-", most=max_detections),
        proposals=None if proposals is None else count_regions(truth, proposals, prefix="proposal-"),
    )


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
    arrays: dict[str, npt.NDArray[Any]] = {"format": np.array(_FORMAT)}
    for prefix, matches in results.matches.items():
        arrays |= dict(to_arrays(matches, f"{prefix}matches"))
    for name, part in results.parts().items():
        arrays |= dict(to_arrays(part, name))
    arrays |= {f"slice.{name}": ids for name, ids in results.slices.items()}
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
        return _read(read_npz(path))
    except (ValueError, KeyError, TypeError) as err:
        raise DataError(f"{path}: these per-image results cannot be read ({err}); evaluate again") from err


def _read(arrays: Arrays) -> PerImage:
    if arrays["format"] != _FORMAT:
        raise ValueError(f"format {arrays['format']}, this version reads {_FORMAT}")
    prefixes = [key.removesuffix("matches.image_ids") for key in arrays if key.endswith("matches.image_ids")]
    there = {key.partition(".")[0] for key in arrays}
    parts: dict[str, Any] = {name: from_arrays(kind, arrays, name) for name, kind in PARTS.items() if name in there}
    return PerImage(
        {prefix: from_arrays(Matches, arrays, f"{prefix}matches") for prefix in prefixes},
        **parts,
        slices={key.removeprefix("slice."): ids for key, ids in arrays.items() if key.startswith("slice.")},
    )
