"""What the user asks of post-processing, put into a bundle's settings."""

from edgewright.runtime.heads import check_suppression
from edgewright.runtime.spec import ModelSpec, PostprocessSpec


def thresholds(settings: PostprocessSpec, conf: float | None, iou: float | None) -> PostprocessSpec:
    """The settings with these thresholds; None keeps the bundle's."""
    given = {"conf_threshold": conf, "iou_threshold": iou}
    return settings.model_copy(update={name: value for name, value in given.items() if value is not None})


def refined(settings: PostprocessSpec, name: str | None) -> PostprocessSpec:
    """The settings with the refinement of that name; "none" takes it away, None keeps the bundle's."""
    if name is None:
        return settings
    return settings.model_copy(update={"refine": None if name == "none" else name})


def suppressing(spec: ModelSpec, settings: PostprocessSpec, variant: str | None) -> PostprocessSpec:
    """The settings with that NMS variant, None keeps the bundle's; UsageError when the network leaves no room for it."""
    if variant is None:
        return settings
    check_suppression(spec, variant)
    return settings.model_copy(update={"nms": variant})
