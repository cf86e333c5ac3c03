"""What a detector finds on the images of a data set, and as records of a COCO results file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.pipeline.console import progress
from edgewright.pipeline.datasets import Dataset
from edgewright.pipeline.proposing import names_of
from edgewright.runtime.errors import UsageError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Boxes, Detections, Image

if TYPE_CHECKING:
    from edgewright.pipeline.metrics.coco import CocoResult, RunLengths


@dataclass(frozen=True, eq=False)
class Found:
    """What a network found on an image of the data set; masks are kept as run lengths, `detections` has none.

    `proposals` (N, 4) are the regions that it was fed, where it takes any from outside.
    """

    image_id: int
    detections: Detections
    masks: Sequence["RunLengths"] | None = None
    proposals: Boxes | None = None


def find(predictor: Predictor, dataset: Dataset) -> Iterator[Found]:
    """What the network finds on every image of the data set, in its order."""
    wanted = predictor.spec.proposals
    for sample in progress(dataset, total=len(dataset), description="evaluate"):
        image = sample.image()
        regions = predictor.propose(image, names_of(sample))
        feeds, placement = predictor.prepare(image, regions)
        result = predictor.finish(predictor.infer(feeds), placement)
        if not isinstance(result, Detections):
            raise UsageError(f"{predictor.spec.name} gives a {type(result).__name__}, boxes need Detections")
        fed = None if regions is None or wanted is None else regions[: wanted.count]
        yield Found(sample.image_id, replace(result, masks=None), _run_lengths(result, image), fed)


def coco_results(found: Sequence[Found], category_ids: Sequence[int | None]) -> Iterator["CocoResult"]:
    """What was found, as records of a COCO results file; labels without a category are left out."""
    for image in found:
        objects = image.detections
        rows = zip(objects.boxes_xyxy.tolist(), objects.scores.tolist(), objects.class_ids.tolist(), strict=True)
        for number, ((x1, y1, x2, y2), score, class_id) in enumerate(rows):
            category_id = category_ids[class_id]
            if category_id is None:
                continue
            box = [x1, y1, x2 - x1, y2 - y1]
            result: CocoResult = {
                "image_id": image.image_id, "category_id": category_id, "bbox": box, "score": score
            }  # fmt: skip
            yield result if image.masks is None else {**result, "segmentation": image.masks[number]}


def region_records(found: Sequence[Found]) -> list[dict[str, Any]] | None:
    """The proposals as records, the best of an image with the highest score; None where the network takes none."""
    if any(image.proposals is None for image in found):
        return None
    return [
        {"image_id": image.image_id, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": -float(place)}
        for image in found
        for place, (x1, y1, x2, y2) in enumerate([] if image.proposals is None else image.proposals.tolist())
    ]


def write_results(path: Path, results: Iterator["CocoResult"]) -> None:
    """Write a COCO results file, one record a line: 500 000 records of a large data set need no large text in memory."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, result in enumerate(results):
            file.write(",\n" if number else "\n")
            file.write(json.dumps(result, separators=(",", ":"), allow_nan=False))
        file.write("\n]\n")


def _run_lengths(result: Detections, image: Image) -> "Sequence[RunLengths] | None":
    """The masks, small enough to keep those of every image of a large data set."""
    if result.masks is None:
        return None
    from edgewright.pipeline.metrics.coco_masks import run_lengths

    return [run_lengths(mask, (image.shape[0], image.shape[1])) for mask in result.masks]
