"""J and F of object masks in videos: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016; means over objects as in Pont-Tuset et al., "The 2017 DAVIS Challenge", arXiv:1704.00675."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import DataError

Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.integer[Any]]
# How far a boundary may be off, as a share of the diagonal: bound_th of the DAVIS evaluation.
_TOLERANCE = 0.008
_VOID = 255
# A frame counts as recalled above this, in the DAVIS evaluation.
_RECALLED = 0.5


@dataclass(frozen=True)
class Statistics:
    """Over the frames of an object: the mean, the share of frames above 0.5, and the first quarter less the last."""

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True)
class ObjectScores:
    """Region similarity J and contour accuracy F of one object."""

    j: Statistics
    f: Statistics

    @property
    def j_and_f(self) -> float:
        return (self.j.mean + self.f.mean) / 2


def video_scores(truth: Sequence[Ids], found: Sequence[Ids], *, ends: bool = False) -> dict[int, ObjectScores]:
    """The scores of every object of a video, by its number; maps (H, W) of object numbers, 0 is background, 255 void.

    The first frame, which the network was shown, and the last do not count, as in DAVIS' semi-supervised task; with `ends` they
    do. A found object that the truth does not have counts as background. DataError for videos that do not fit together.
    """
    if len(truth) != len(found) or any(a.shape != b.shape for a, b in zip(truth, found, strict=False)):
        raise DataError(
            f"{len(found)} found masks for {len(truth)} frames, or of other sizes; give one for every frame"
        )
    counted = list(zip(truth, found, strict=True))[slice(None) if ends else slice(1, -1)]
    numbers = set(np.unique(np.concatenate([np.unique(ids) for ids in truth])).tolist()) - {0, _VOID}
    return scores_over([frame_scores(*pair) for pair in counted], numbers)


def frame_scores(truth: Ids, found: Ids) -> dict[int, tuple[float, float]]:
    """J and F of every object that is or was found in a frame, by its number; maps as in `video_scores`."""
    counts = truth != _VOID
    numbers = set(np.unique(truth).tolist()) | set(np.unique(found[counts]).tolist())
    scores = {}
    for number in sorted(numbers - {0, _VOID}):
        pair = truth == number, (found == number) & counts
        scores[number] = region_similarity(*pair), contour_accuracy(*pair)
    return scores


def scores_over(
    frames: Sequence[Mapping[int, tuple[float, float]]], numbers: Collection[int]
) -> dict[int, ObjectScores]:
    """The scores of the objects of these numbers over the frames that count; DataError when there is none.

    An object that a frame does not name is neither there nor found, which DAVIS scores by 1.
    """
    if not frames:
        raise DataError("a video of one or two frames has none between the first and the last; give longer ones")
    return {
        number: ObjectScores(
            _statistics([frame.get(number, (1.0, 1.0))[0] for frame in frames]),
            _statistics([frame.get(number, (1.0, 1.0))[1] for frame in frames]),
        )
        for number in sorted(numbers)
    }


def region_similarity(truth: Mask, found: Mask) -> float:
    """J: the IoU of two masks (H, W), 1 where both are empty."""
    union = np.count_nonzero(truth | found)
    return float(np.count_nonzero(truth & found) / union) if union else 1.0


def contour_accuracy(truth: Mask, found: Mask) -> float:
    """F: the harmonic mean of the shares of both boundaries that lie near the other one; 1 where both are empty."""
    reach = int(np.ceil(_TOLERANCE * np.hypot(*truth.shape)))
    ours, theirs = contour(found), contour(truth)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    precision = np.count_nonzero(ours & _grown(theirs, reach)) / np.count_nonzero(ours)
    recall = np.count_nonzero(theirs & _grown(ours, reach)) / np.count_nonzero(theirs)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def contour(mask: Mask) -> Mask:
    """The pixels (H, W) whose neighbour to the right, below, or both, is of the other kind (seg2bmap of Martin et al.)."""
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def _grown(edge: Mask, reach: int) -> Mask:
    """Where a pixel of the edge lies within `reach`, by the distance of their centres."""
    offset = np.arange(-reach, reach + 1)
    disk = (offset[:, None] ** 2 + offset**2 <= reach**2).astype(np.uint8)
    return np.asarray(cv2.dilate(edge.astype(np.uint8), disk), bool)


def _statistics(values: Sequence[float]) -> Statistics:
    frames = np.array(values)
    # Four parts that share their borders, rounded as in davis2017's db_statistics.
    at = (np.round(np.linspace(1, len(frames), 5) + 1e-10) - 1).astype(int)
    first, last = frames[at[0] : at[1] + 1], frames[at[3] : at[4] + 1]
    return Statistics(float(frames.mean()), float((frames > _RECALLED).mean()), float(first.mean() - last.mean()))
