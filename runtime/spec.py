"""How a frame becomes a tensor and a tensor becomes results; stored in every bundle and obeyed everywhere."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
SizeHW = tuple[Positive, Positive]
# The name of a first dimension that is open; whoever opens a backend says how many images it is for.
BATCH = "batch"
DType = Literal["float32", "float16", "float64", "uint8", "int8", "int32", "int64", "bool"]
Resize = Literal["letterbox", "letterbox_top_left", "stretch"]
BoxFormat = Literal["xyxy_pixels", "xyxy_unit", "cxcywh_pixels", "cxcywh_unit"]
Task = Literal["detect", "instance", "semantic", "panoptic", "prompted"]


class Strict(BaseModel):
    """Frozen data at a file border: an unknown key is an error."""

    # Validators are built at their first use: building those of every class costs a cold start of a tenth of a second.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class TensorSpec(Strict):
    """Name, shape and element type of one graph input or output; a dynamic dimension is its name or -1."""

    name: str
    shape: tuple[int | str, ...]
    dtype: DType


class PreprocessSpec(Strict):
    """A BGR uint8 image becomes a tensor: resize, colour order, then (pixel * scale - mean) / std, layout, dtype.

    `mean` and `std` have one value per channel in the order of `color`, in units after `scale`.
    `letterbox` centres the image, `letterbox_top_left` puts it into the corner; both keep the aspect ratio, and `rounding`
    says how a fractional side becomes whole pixels (trainers differ, and it moves AP by tenths of a point).
    """

    size_hw: SizeHW
    resize: Resize = "letterbox"
    rounding: Literal["nearest", "floor"] = "nearest"
    pad_value: Annotated[int, Field(ge=0, le=255)] = 114
    color: Literal["bgr", "rgb", "gray"] = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    interpolation: Literal["linear", "nearest", "area", "cubic"] = "linear"

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3

    @property
    def tensor_shape(self) -> tuple[int, int, int, int]:
        """The input shape for one image."""
        h, w = self.size_hw
        return (1, self.channels, h, w) if self.layout == "nchw" else (1, h, w, self.channels)

    @model_validator(mode="after")
    def _per_channel_values_fit(self) -> "PreprocessSpec":
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values, color '{self.color}' has {self.channels}")
        if not all(np.isfinite([*self.mean, *self.std, self.scale])) or 0.0 in self.std or self.scale == 0.0:
            raise ValueError("scale, mean and std must be finite, and scale and std not zero")
        if self.dtype == "uint8" and (self.scale, set(self.mean), set(self.std)) != (1.0, {0.0}, {1.0}):
            raise ValueError("dtype uint8 allows no scale, mean or std: put them into the graph")
        return self


class PromptSpec(Strict):
    """How a promptable network's answer is chosen among its masks.

    The first mask is the answer, unless it is unstable: of the pixels above `-stability_margin` (in logits) fewer than the
    share `least_stability` are above `stability_margin`. Then it is the alternative of the highest quality. None: always
    the first.
    """

    stability_margin: Annotated[float, Field(ge=0)] | None = None
    least_stability: Annotated[float, Field(ge=0, le=1)] | None = None


class HeadSpec(Strict):
    """Which head decodes the outputs (a file of `runtime/heads`), and which graph output plays which role.

    `outputs` maps the roles of that head ("boxes", "scores", ...) to names of graph outputs.
    `boxes` says what box coordinates mean: pixels of the input tensor, or fractions of it.
    `background_id` is the class id of what is no object, where a map has such a class. `ignore_id` is the value that marks
    pixels in labelled masks as not to be scored, in the data set's numbers; 255 always does, unless a category has it.
    `level_rows` is how many rows of the outputs come from each feature level, in order. `thing_ids` are the class ids that
    are countable objects, in a panoptic network; the others are stuff. None: all are.
    """

    kind: str
    outputs: dict[str, str]
    boxes: BoxFormat = "xyxy_pixels"
    background_id: Annotated[int, Field(ge=0)] | None = None
    ignore_id: Annotated[int, Field(ge=0)] | None = None
    level_rows: tuple[Positive, ...] | None = None
    thing_ids: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    prompts: PromptSpec | None = None


class ProposalSpec(Strict):
    """Regions that are proposed outside the network and fed to its input `input`, `count` of them, padded with zeros.

    `method` names a file of `runtime/proposals` and its options; the input (1, count, 4) holds x1 y1 x2 y2 in pixels of the
    input tensor, best first.
    """

    input: str
    method: str
    count: Positive


class TilingSpec(Strict):
    """An image of any size is cut into tiles of the network's input at full resolution, which overlap by `overlap_px` on
    every side; the image is mirrored beyond its edges.

    `margin_px` is what the network's map leaves out of a tile on every side (convolutions without padding); tiles overlap by
    that at least. `blend` mixes the maps of overlapping tiles at their seam instead of cutting there.
    """

    overlap_px: Annotated[int, Field(ge=0)]
    margin_px: Annotated[int, Field(ge=0)] = 0
    blend: bool = False


class GraphSpec(Strict):
    """One graph of a network of several: its name in the bundle, and what it takes and gives."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class PostprocessSpec(Strict):
    """Defaults of decoding; the command line may override them, and reports record what was used.

    `multi_label` lets one box carry every class above the threshold, as COCO evaluation wants it. A pixel belongs to a mask
    from the probability `mask_threshold` on. In a panoptic map a segment stays when others leave it more than the share
    `overlap_threshold` of its mask, and stuff when it covers at least the share `stuff_area` of the picture; None: as
    `runtime/heads/panoptic.py` says. `nms` is a file of `runtime/nms` with its options: `soft?method=linear`.
    """

    conf_threshold: Annotated[float, Field(ge=0, le=1)] = 0.25
    iou_threshold: Annotated[float, Field(ge=0, le=1)] = 0.65
    max_detections: Positive = 100
    nms: str = "hard"
    class_agnostic: bool = False
    multi_label: bool = True
    mask_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    overlap_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    stuff_area: Annotated[float, Field(ge=0, le=1)] | None = None
    # How a class map is fitted to the picture's edges: a file of `runtime/refine`.
    refine: str | None = None
    # More candidates than this are cut to the best before NMS: a guard for the live loop against a threshold near zero.
    max_candidates: Positive = 30_000
    # The same for each class (SSD) or each feature level (RetinaNet, FCOS), where the trainer had such a limit.
    max_candidates_per_class: Positive | None = None
    max_candidates_per_level: Positive | None = None


class ModelSpec(Strict):
    """All that the runtime knows of a network. `category_ids` are the data set's ids of the labels, where they differ
    from 0, 1, 2, ... (COCO: 1..90 with gaps). `inputs` and `outputs` are those of the graph that sees the image;
    `graphs` are the further ones, in the order in which they run."""

    name: Annotated[str, Field(min_length=1)]
    task: Task
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: PreprocessSpec
    head: HeadSpec
    postprocess: PostprocessSpec = PostprocessSpec()
    category_ids: tuple[int, ...] | None = None
    proposals: ProposalSpec | None = None
    tiling: TilingSpec | None = None
    graphs: tuple[GraphSpec, ...] | None = None

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "ModelSpec":
        if self.category_ids is not None and len(self.category_ids) != len(self.labels):
            raise ValueError(f"{len(self.category_ids)} category ids for {len(self.labels)} labels")
        given = (*self.outputs, *(tensor for graph in self.graphs or () for tensor in graph.outputs))
        known = {tensor.name for tensor in given}
        unknown = sorted(set(self.head.outputs.values()) - known)
        if unknown:
            raise ValueError(f"the head reads {unknown}, the graph gives {sorted(known)}")
        if self.tiling is not None and self.task != "semantic":
            raise ValueError(f"tiles are put together to maps of classes; a {self.task} network has no tiling")
        if self.head.background_id is not None and self.head.background_id >= len(self.labels):
            raise ValueError(f"the background is class {self.head.background_id} of {len(self.labels)} labels")
        return self
