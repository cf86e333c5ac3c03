"""What the user asks an export to do; the same keys stand in a recipe file and on the command line."""

from typing import Annotated, Literal

from pydantic import Field

from edgewright.runtime.spec import PreprocessSpec, Resize, SizeHW, Strict

Fraction = Annotated[float, Field(ge=0, le=1)]
Index = Annotated[int, Field(ge=0)]
Layout = Literal["nchw", "nhwc"]
BoxFormatOfFile = Literal[
    "xyxy_pixels", "xyxy_unit", "cxcywh_pixels", "cxcywh_unit", "yxyx_pixels", "yxyx_unit", "xywh_pixels", "xywh_unit"
]


class ExportRequest(Strict):
    """Where the network is and what the family cannot know; None means: as the family says."""

    source: str
    family: str | None = None
    labels: str | None = None
    name: str | None = None
    size: SizeHW | None = None
    image: str | None = None
    weights: str | None = None
    roi: Literal["op", "grid"] | None = None
    # Feed the graph with pixels as they are; order, scale and mean become nodes of it.
    uint8_input: bool | None = None

    # Tiles at full resolution, for networks that give a class for every pixel: by how many pixels they overlap on every side,
    # whether they are mixed where they meet, and how many pixels of a tile the map leaves out on every side.
    tile_overlap: Index | None = None
    tile_blend: bool | None = None
    output_margin: Index | None = None
    # How many regions the second stage looks at, and who proposes them to a network that takes them from outside.
    proposals: Annotated[int, Field(gt=0)] | None = None
    propose: str | None = None

    resize: Resize | None = None
    rounding: Literal["nearest", "floor"] | None = None
    pad_value: Annotated[int, Field(ge=0, le=255)] | None = None
    color: Literal["bgr", "rgb", "gray"] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Literal["linear", "nearest", "area", "cubic"] | None = None

    # What the outputs mean, for family `generic`. An output is its name in the graph, or a part of it in the notation of
    # NumPy: `output0[:, 4:84]`.
    head: Literal["dense", "final", "prototypes", "semantic"] | None = None
    layout: Layout | None = None
    output_layout: Layout | None = None
    boxes_output: str | None = None
    scores_output: str | None = None
    objectness_output: str | None = None
    classes_output: str | None = None
    count_output: str | None = None
    coefficients_output: str | None = None
    prototypes_output: str | None = None
    pixels_output: str | None = None
    box_format: BoxFormatOfFile | None = None
    # What is still to be done to scores: `none` when they are probabilities already.
    activation: Literal["none", "sigmoid", "softmax"] | None = None
    # The network's class index of every label, in the order of the labels; classes that are left out go away.
    class_map: Annotated[tuple[Index, ...], Field(min_length=1)] | None = None
    background_index: Index | None = None
    # Whether a grid YOLO gives the widths and heights of boxes, or their square roots.
    box_sizes: Literal["plain", "sqrt"] | None = None
    ignore_id: Index | None = None
    # The classes that are countable objects, of a panoptic network.
    thing_ids: Annotated[tuple[Index, ...], Field(min_length=1)] | None = None

    conf_threshold: Fraction | None = None
    iou_threshold: Fraction | None = None
    max_detections: Annotated[int, Field(gt=0)] | None = None
    class_agnostic: bool | None = None
    multi_label: bool | None = None
    mask_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    overlap_threshold: Fraction | None = None
    stuff_area: Fraction | None = None
    nms: str | None = None
    refine: str | None = None

    def given(self, *names: str) -> dict[str, object]:
        """The named keys that have a value."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


PREPROCESS_KEYS = tuple(name for name in PreprocessSpec.model_fields if name in ExportRequest.model_fields)
DESCRIPTION_KEYS = (
    "head", "output_layout", "boxes_output", "scores_output", "objectness_output", "classes_output", "count_output",
    "coefficients_output", "prototypes_output", "pixels_output", "box_format", "activation", "class_map", "background_index",
    "box_sizes",
)  # fmt: skip
# What only some families have a use for, beside the meaning of outputs.
PART_KEYS = ("roi", "proposals", "propose", "thing_ids")
POSTPROCESS_KEYS = (
    "conf_threshold",
    "iou_threshold",
    "max_detections",
    "class_agnostic",
    "multi_label",
    "mask_threshold",
    "overlap_threshold",
    "stuff_area",
    "nms",
    "refine",
)
