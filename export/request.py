"""What the user asks an export to do; the same keys stand in a recipe file and on the command line."""

from typing import Annotated, Literal

from pydantic import Field

from edgewright.runtime.spec import PreprocessSpec, Resize, SizeHW, Strict

Fraction = Annotated[float, Field(ge=0, le=1)]


class ExportRequest(Strict):
    """Where the network is and what the family cannot know; None means: as the family says."""

    source: str
    family: str | None = None
    labels: str | None = None
    name: str | None = None
    size: SizeHW | None = None
    image: str | None = None

    resize: Resize | None = None
    rounding: Literal["nearest", "floor"] | None = None
    pad_value: Annotated[int, Field(ge=0, le=255)] | None = None
    color: Literal["bgr", "rgb", "gray"] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Literal["linear", "nearest", "area", "cubic"] | None = None

    conf_threshold: Fraction | None = None
    iou_threshold: Fraction | None = None
    max_detections: Annotated[int, Field(gt=0)] | None = None
    class_agnostic: bool | None = None
    multi_label: bool | None = None

    def given(self, *names: str) -> dict[str, object]:
        """The named keys that have a value."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


PREPROCESS_KEYS = tuple(name for name in PreprocessSpec.model_fields if name in ExportRequest.model_fields)
POSTPROCESS_KEYS = ("conf_threshold", "iou_threshold", "max_detections", "class_agnostic", "multi_label")
