"""Which labels a task needs; data without them are refused with what to give instead."""

from edgewright.pipeline.datasets import BoxDataset, Dataset, MaskDataset, PanopticDataset
from edgewright.runtime.errors import UsageError


def with_boxes(dataset: Dataset) -> BoxDataset:
    """The data set, which has boxes."""
    if not isinstance(dataset, BoxDataset):
        raise UsageError(f"data '{dataset.uri}' has no boxes to compare with; give coco:, voc: or yolo: data")
    return dataset


def with_class_masks(dataset: Dataset) -> MaskDataset:
    """The data set, which has a class for every pixel."""
    if not isinstance(dataset, MaskDataset):
        raise UsageError(f"data '{dataset.uri}' has no class masks to compare with; give masks:IMAGES_DIR:MASKS_DIR")
    return dataset


def with_segments(dataset: Dataset) -> PanopticDataset:
    """The data set, which has segments."""
    if not isinstance(dataset, PanopticDataset):
        wanted = "panoptic:IMAGES_DIR:ANNOTATIONS.json:PNG_DIR"
        raise UsageError(f"data '{dataset.uri}' has no segments to compare with; give {wanted}")
    return dataset
