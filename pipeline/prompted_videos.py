"""Masks of a promptable network against those of videos, each frame by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.console import progress
from edgewright.pipeline.datasets import VideoDataset
from edgewright.pipeline.metrics.video import ObjectScores, frame_scores, scores_over
from edgewright.pipeline.metrics.video_means import video_means
from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.prompted_masks import Prompts, prompt_of
from edgewright.pipeline.scored import Scored
from edgewright.runtime.errors import DataError
from edgewright.runtime.prompter import Prompter
from edgewright.runtime.results import Detections

Ids = npt.NDArray[np.integer[Any]]

# DAVIS evaluation, 2017: pixels of this number are not labelled.
_VOID = 255
_NOTES = (
    "J&F by the label: every object is pointed at in every frame, since the network has no memory of videos; not to be compared "
    "with scores of networks that are shown the first frame only",
    "the first and the last frame of a video do not count, as in DAVIS' semi-supervised task",
    "where masks overlap, a pixel belongs to the mask of the highest expected quality",
)


def score_videos(prompter: Prompter, dataset: VideoDataset, prompts: Prompts) -> Scored:
    """J&F of the masks with the objects that `prompts` point at, one prompt for each in every frame.

    An answer below the confidence threshold counts as none. DataError for videos of less than three frames, or without objects.
    """
    _check(dataset)
    samples = {sample.image_id: sample for sample in dataset}
    counted = [image_id for frames in dataset.videos.values() for image_id in frames[1:-1]]
    scores: dict[int, dict[int, tuple[float, float]]] = {}
    for image_id in progress(counted, total=len(counted), description="evaluate"):
        truth = dataset.object_numbers(image_id)
        image = samples[image_id].image()
        if image.shape[:2] != truth.shape:
            raise DataError(
                f"{samples[image_id].path}: is {image.shape[:2]} high and wide, its annotation {truth.shape}"
            )
        prompter.set_image(image)
        scores[image_id] = frame_scores(truth, found_numbers(prompter, truth, prompts))
    means = video_means({name: _objects(dataset, frames, scores) for name, frames in dataset.videos.items()})
    measurements = means.measurements()
    if not measurements:
        raise DataError(f"data '{dataset.uri}' has no labelled object, so nothing can be scored; use other videos")
    return Scored(measurements, (*dataset.notes, *_NOTES), PerImage(videos=means))


def found_numbers(prompter: Prompter, truth: Ids, prompts: Prompts) -> Ids:
    """The map (H, W) of the numbers of the objects that the encoded image shows, each pointed at where `truth` has it."""
    answers: list[tuple[float, int, Detections]] = []
    for number in sorted(set(np.unique(truth).tolist()) - {0, _VOID}):
        answer, _ = prompter.answers(prompt_of(truth == number, prompts))
        if len(answer):
            answers.append((float(answer.scores[0]), number, answer))
    found = np.zeros(truth.shape, truth.dtype)
    # The best last, over the others; of equal ones the first.
    for _, number, answer in sorted(answers, key=lambda one: (one[0], -one[1])):
        for mask in answer.masks or ():
            found[mask.paste((truth.shape[0], truth.shape[1]))] = number
    return found


def _check(dataset: VideoDataset) -> None:
    for name, frames in dataset.videos.items():
        if len(frames) < 3:
            raise DataError(
                f"data '{dataset.uri}': video {name} has {len(frames)} of the 3 frames that are the least, since the first and "
                "the last do not count; leave it out, or change --limit"
            )


def _objects(
    dataset: VideoDataset, frames: Sequence[int], scores: Mapping[int, Mapping[int, tuple[float, float]]]
) -> dict[int, ObjectScores]:
    """Of the objects that any frame of the video shows, the first and the last one too."""
    ends = (np.unique(dataset.object_numbers(image_id)).tolist() for image_id in (frames[0], frames[-1]))
    numbers = {number for found in (*ends, *(scores[image_id] for image_id in frames[1:-1])) for number in found}
    return scores_over([scores[image_id] for image_id in frames[1:-1]], numbers - {0, _VOID})
