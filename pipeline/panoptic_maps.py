"""Panoptic maps of a network against the segments of a data set."""

from collections.abc import Mapping

import numpy as np

from edgewright.pipeline.console import progress
from edgewright.pipeline.datasets import PanopticDataset, PanopticLabels
from edgewright.pipeline.datasets._matching import match_names
from edgewright.pipeline.metrics.image_sums import Floats, sums_of
from edgewright.pipeline.metrics.panoptic import LabelledSegment, SegmentCounts, count_segments, segment_scores
from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.scored import Scored
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import PanopticMap
from edgewright.runtime.spec import ModelSpec

ClassOfLabel = tuple[int | None, ...]


def segment_table(spec: ModelSpec, dataset: PanopticDataset) -> ClassOfLabel:
    """Which class of the data, as an index, every label means by its name, None for one that the data do not have.

    DataError when a class that the data use has no label.
    """
    classes = dataset.segment_classes
    index = {one.id: k for k, one in enumerate(classes)}
    matched = match_names(spec, classes, dataset.annotated, dataset.uri)
    return tuple(None if number is None else index[number] for number in matched)


def score_segments(predictor: Predictor, dataset: PanopticDataset, table: ClassOfLabel) -> Scored:
    """Panoptic quality of all classes, of things and of stuff, as the data set tells them apart."""
    classes = dataset.segment_classes
    index = {one.id: k for k, one in enumerate(classes)}
    ids, tables = [], []
    for sample in progress(dataset, total=len(dataset), description="evaluate"):
        found = predictor(sample.image())
        if not isinstance(found, PanopticMap):
            raise UsageError(f"{predictor.spec.name} gives {type(found).__name__}, segments need a PanopticMap")
        where = str(sample.path or sample.image_id)
        ids.append(sample.image_id)
        tables.append(count_map(dataset.panoptic_labels(sample.image_id), found, index, table, where))
    counts = SegmentCounts(
        labels=tuple(one.name for one in classes),
        things=np.array([one.is_thing for one in classes], bool),
        sums=sums_of(ids, tables, (len(classes), 4)),
    )
    measurements, notes = segment_scores(counts)
    return Scored(measurements, (*_unscored(predictor.spec, table), *notes), PerImage(segments=counts))


def count_map(
    labels: PanopticLabels, found: PanopticMap, index: Mapping[int, int], table: ClassOfLabel, where: str
) -> Floats:
    """What became of the segments of the image `where`, as `count_segments` has it.

    `index` are the classes of the data by their ids, as indices; `table` is that of `segment_table`.
    """
    _check_size(labels, found, where)
    truth = [LabelledSegment(number, index[category], crowd) for number, category, crowd in labels.segments]
    segment_ids, segments = _known(found, table)
    return count_segments(labels.segment_ids, truth, segment_ids, segments, classes=len(index))


def _known(found: PanopticMap, table: ClassOfLabel) -> tuple[np.ndarray, list[LabelledSegment]]:
    """The found segments of classes that the data have; the pixels of the others belong to none."""
    segments, strange = [], []
    for segment in found.segments:
        class_id = table[segment.class_id]
        if class_id is None:
            strange.append(segment.segment_id)
        else:
            segments.append(LabelledSegment(segment.segment_id, class_id))
    ids = np.where(np.isin(found.segment_ids, strange), 0, found.segment_ids) if strange else found.segment_ids
    return ids, segments


def _check_size(labels: PanopticLabels, found: PanopticMap, where: str) -> None:
    wanted, got = (f"{ids.shape[1]}x{ids.shape[0]}" for ids in (found.segment_ids, labels.segment_ids))
    if wanted != got:
        raise DataError(f"{where}: its labels are {got}, the image {wanted}; they must be alike")


def _unscored(spec: ModelSpec, table: ClassOfLabel) -> tuple[str, ...]:
    left_out = [label for label, class_id in zip(spec.labels, table, strict=True) if class_id is None]
    few = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
    return (f"{len(left_out)} labels that the data do not have are not scored: {few}",) if left_out else ()
