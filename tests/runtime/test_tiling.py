"""Tiles put together are the whole image: the same network on the mirrored image at once is the reference."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.backends import Setting, Tensors
from edgewright.runtime.errors import BundleError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import SemanticMap
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, TensorSpec, TilingSpec
from edgewright.runtime.tiling import TileGrid, mirrored

RNG = np.random.default_rng(0)
KERNELS = [RNG.normal(size=(3, 3)).astype(np.float32) for _ in range(6)]
REACH = 3  # three convolutions of 3 x 3 see three pixels further
CLASSES = 3
Map = npt.NDArray[np.float32]


def network(picture: Map) -> Map:
    """Logits (3, H, W) of a tensor (1, 3, H, W): three convolutions that see zeros beyond the edges."""
    planes = []
    for channel in range(CLASSES):
        values = picture[0, channel]
        for kernel in KERNELS[channel : channel + REACH]:
            values = np.tanh(cv2.filter2D(values, -1, kernel, borderType=cv2.BORDER_CONSTANT))
        planes.append(values)
    return np.stack(planes)


class Engine:
    """The network above for tiles of one size: `stride` averages its map, `margin` cuts its edges off."""

    def __init__(self, size_hw: tuple[int, int], *, stride: int = 1, margin: int = 0, role: str = "logits") -> None:
        height, width = ((side - 2 * margin) // stride for side in size_hw)
        shapes = {
            "logits": (1, CLASSES, height, width),
            "probability": (1, 1, height, width),
            "class_ids": (1, height, width),
        }
        self.size_hw, self.stride, self.margin, self.role = size_hw, stride, margin, role
        self.inputs = (TensorSpec(name="images", shape=(1, 3, *size_hw), dtype="float32"),)
        self.outputs = (
            TensorSpec(name="map", shape=shapes[role], dtype="int32" if role == "class_ids" else "float32"),
        )
        self.settings: Mapping[str, Setting] = {}
        self.calls = 0

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        assert feeds["images"].shape == (1, 3, *self.size_hw)
        assert feeds["images"].flags.c_contiguous
        self.calls += 1
        return {"map": self.map_of(feeds["images"])}

    def map_of(self, picture: Map) -> npt.NDArray[Any]:
        values = network(picture)[
            :, self.margin : picture.shape[2] - self.margin, self.margin : picture.shape[3] - self.margin
        ]
        if self.role == "class_ids":
            return np.asarray(values.argmax(axis=0), np.int32)[None]
        if self.role == "probability":
            return np.asarray(1 / (1 + np.exp(-values[:1])), np.float32)[None]
        _, height, width = values.shape
        cells = values.reshape(CLASSES, height // self.stride, self.stride, width // self.stride, self.stride)
        return np.asarray(cells.mean(axis=(2, 4))[None], np.float32)

    def close(self) -> None: ...

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None: ...


def predictor(engine: Engine, tiling: TilingSpec | None) -> Predictor:
    spec = ModelSpec(
        name="tiny",
        task="semantic",
        labels=("a", "b", "c"),
        inputs=engine.inputs,
        outputs=engine.outputs,
        preprocess=PreprocessSpec(size_hw=engine.size_hw, scale=1 / 255, mean=(0.5, 0.5, 0.5)),
        head=HeadSpec(kind="semantic", outputs={engine.role: "map"}),
        tiling=tiling,
    )
    return Predictor(spec, engine, PostprocessSpec())


def picture(size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(sum(size_hw)).integers(0, 256, (*size_hw, 3), np.uint8)


def at_once(engine: Engine, image: npt.NDArray[np.uint8], edge: int) -> npt.NDArray[Any]:
    """The map of the mirrored image in one run, cut to the image; NumPy mirrors."""
    stride = engine.stride
    height, width = (-(-side // stride) * stride for side in image.shape[:2])
    pads = [(edge, edge + height - image.shape[0]), (edge, edge + width - image.shape[1]), (0, 0)]
    # NumPy cannot mirror along an axis of one pixel; that pixel is all there is to repeat.
    padded = image
    for axis, pad in enumerate(pads):
        amounts = [(0, 0)] * 3
        amounts[axis] = pad
        padded = np.pad(padded, amounts, mode="edge" if image.shape[axis] == 1 else "reflect")
    tensor = (padded[..., ::-1].transpose(2, 0, 1)[None] / 255 - 0.5).astype(np.float32)
    whole = engine.map_of(tensor)
    cut = (edge - engine.margin) // stride
    return whole[..., cut : whole.shape[-2] - cut, cut : whole.shape[-1] - cut]


CASES = [
    ({}, TilingSpec(overlap_px=REACH)),
    ({}, TilingSpec(overlap_px=8)),
    ({}, TilingSpec(overlap_px=2 * REACH, blend=True)),
    ({"margin": REACH}, TilingSpec(overlap_px=0, margin_px=REACH)),
    ({"margin": REACH}, TilingSpec(overlap_px=8, margin_px=REACH)),
    ({"margin": REACH}, TilingSpec(overlap_px=7, margin_px=REACH, blend=True)),
    ({"stride": 4}, TilingSpec(overlap_px=4)),
    ({"stride": 4}, TilingSpec(overlap_px=8, blend=True)),
    ({"role": "probability"}, TilingSpec(overlap_px=REACH)),
    ({"role": "class_ids"}, TilingSpec(overlap_px=REACH)),
]
IMAGES = [(64, 96), (50, 75), (7, 5), (1, 1), (1, 40), (130, 33)]


@pytest.mark.parametrize("size_hw", IMAGES)
@pytest.mark.parametrize(("form", "tiling"), CASES)
def test_tiles_give_the_map_of_the_whole_image(
    form: dict[str, Any], tiling: TilingSpec, size_hw: tuple[int, int]
) -> None:
    engine = Engine((32, 40), **form)
    image = picture(size_hw)
    with predictor(engine, tiling) as p:
        feeds, placement = p.prepare(image)
        stitched = p.infer(feeds)["map"]
        found = p.finish({"map": stitched}, placement)
    edge = max(tiling.overlap_px, tiling.margin_px)
    wanted = at_once(engine, image, edge)
    rows, columns = wanted.shape[-2:]
    difference = np.abs(stitched[..., :rows, :columns] - wanted)
    assert difference.max() < 1e-5
    assert isinstance(found, SemanticMap)
    assert found.class_ids.shape == size_hw
    if engine.stride == 1 and engine.role == "logits":
        assert (found.class_ids == wanted[0].argmax(axis=0)).all()


def test_blending_draws_a_straight_line_across_the_seam_of_two_tiles_that_disagree() -> None:
    class Counter(Engine):
        def map_of(self, picture: Map) -> npt.NDArray[Any]:
            return np.full((1, CLASSES, 32, 40), self.calls, np.float32)

    engine = Counter((32, 40))
    with predictor(engine, TilingSpec(overlap_px=8, blend=True)) as p:
        feeds, _ = p.prepare(picture((16, 48)))
        row = p.infer(feeds)["map"][0, 0, 3]
    # Tiles of 24 kept columns, the first gives 1 and the second 2; they are mixed 4 px to either side of the seam.
    assert row[:20].tolist() == [1.0] * 20
    assert row[20:28].tolist() == pytest.approx([1 + (i + 0.5) / 8 for i in range(8)])
    assert row[28:].tolist() == [2.0] * 20


@given(
    size_hw=st.tuples(st.integers(1, 70), st.integers(1, 70)), edge=st.integers(0, 15), stride=st.sampled_from([1, 2])
)
def test_tiles_cover_every_pixel_and_no_more_than_one_further_row_or_column(
    size_hw: tuple[int, int], edge: int, stride: int
) -> None:
    grid = TileGrid((32, 48), edge // stride * stride, 0, stride, blend=False)
    rows, columns = grid.counts(size_hw)
    covered = grid.covered_hw(size_hw)
    assert covered[0] >= size_hw[0] > covered[0] - grid.core_hw[0]
    assert covered[1] >= size_hw[1] > covered[1] - grid.core_hw[1]
    extended = mirrored(np.zeros((*size_hw, 3), np.uint8), grid)
    assert extended.shape[:2] == tuple(side + 2 * grid.edge for side in covered)
    assert rows * columns >= 1


@pytest.mark.parametrize(
    ("form", "tiling", "sentence"),
    [
        ({}, TilingSpec(overlap_px=16), "multiple of 1 up to 15"),
        ({"stride": 4}, TilingSpec(overlap_px=6), "multiple of 4 up to 12"),
        ({"role": "class_ids"}, TilingSpec(overlap_px=4, blend=True), "cannot be mixed"),
        ({}, TilingSpec(overlap_px=14, blend=True), "at most 10 px"),
        ({"margin": 4}, TilingSpec(overlap_px=4, margin_px=3), "does not divide"),
    ],
)
def test_an_overlap_that_does_not_fit_is_refused_with_one_that_does(
    form: dict[str, Any], tiling: TilingSpec, sentence: str
) -> None:
    with pytest.raises(BundleError, match=sentence):
        predictor(Engine((32, 40), **form), tiling)


def test_a_small_image_costs_one_run_and_the_engine_sees_one_tile_at_a_time() -> None:
    engine = Engine((32, 40))
    with predictor(engine, TilingSpec(overlap_px=4)) as p:
        p(picture((24, 32)))
        assert engine.calls == 1
        p(picture((25, 33)))
        assert engine.calls == 5


def test_tiles_are_recorded_among_the_settings() -> None:
    with predictor(Engine((32, 40)), TilingSpec(overlap_px=4)) as p:
        assert (p.settings["tile_overlap_px"], p.settings["tile_blend"]) == (4, False)
