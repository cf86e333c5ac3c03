"""Which reference networks there are, and how each is fed, trained and scored."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from edgewright.export.reference import losses, scoring, zoo
from edgewright.export.reference.detector import PREPROCESS
from edgewright.export.reference.scenes import Collection
from edgewright.export.reference.training import LossOf, Schedule
from edgewright.runtime.spec import PreprocessSpec

ScoreOf = Callable[[nn.Module, Collection], dict[str, float]]

_LARGE = PreprocessSpec(
    size_hw=zoo.SIZE_HW,
    resize="letterbox_top_left",
    rounding="floor",
    scale=1 / 255,
    # ImageNet's statistics, torchvision's default.
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
_FINE = _LARGE.model_copy(update={"size_hw": zoo.FINE_HW})
_SMALL = _LARGE.model_copy(update={"size_hw": zoo.SMALL_HW})


@dataclass(frozen=True)
class Reference:
    """A network and all that its training needs; `metric` is the score that it is known by.

    `regions`: it is told where to look.
    """

    make: Callable[[], nn.Module]
    spec: PreprocessSpec
    loss: LossOf
    score: ScoreOf
    metric: str
    schedule: Schedule
    regions: bool = False

    @property
    def drawn(self) -> PreprocessSpec:
        """How its scenes are kept: as 256 levels, blue first."""
        plain = PreprocessSpec(size_hw=self.spec.size_hw)
        kept = {"resize": self.spec.resize, "rounding": self.spec.rounding, "color": "bgr"}
        return plain.model_copy(update=kept)


_SEMANTIC = Schedule(steps=6000, batch=16, rate=3e-3)
_TWO_STAGE = Schedule(steps=6000, batch=16, rate=2e-3)


def _boxes(find: scoring.FindIn) -> ScoreOf:
    return partial(scoring.box_scores, find=find)


def _semantic(make: Callable[[], nn.Module], spec: PreprocessSpec) -> Reference:
    return Reference(make, spec, losses.semantic_loss, scoring.class_map_scores, "mIoU", _SEMANTIC)


def _regions(make: Callable[[], nn.Module]) -> Reference:
    # As the papers score them.
    find = _boxes(scoring.from_regions)
    return Reference(make, _LARGE, losses.region_loss, find, "AP50", _TWO_STAGE, regions=True)


REFERENCES: dict[str, Reference] = {
    "yolo": Reference(
        zoo.yolo, PREPROCESS, losses.grid_loss, _boxes(scoring.from_grid), "AP", Schedule(steps=20_000, batch=16)
    ),
    "ssd": Reference(
        zoo.ssd, _LARGE, losses.single_shot_loss, _boxes(scoring.from_single_shot), "AP", Schedule(8000, 16, 2e-3)
    ),
    "faster_rcnn": Reference(
        zoo.faster_rcnn, _LARGE, losses.two_stage_loss, _boxes(scoring.from_two_stage), "AP", _TWO_STAGE
    ),
    "mask_rcnn": Reference(
        zoo.mask_rcnn, _FINE, losses.two_stage_loss, _boxes(scoring.from_two_stage), "mask-AP", _TWO_STAGE
    ),
    "rcnn": _regions(zoo.rcnn),
    "fast_rcnn": _regions(zoo.fast_rcnn),
    "fcn": _semantic(zoo.fcn, _LARGE),
    "deeplab": _semantic(zoo.deeplab, _LARGE),
    "unet": _semantic(zoo.unet, _SMALL),
}
