"""The choice among the masks of a prompt, and masks at the pixels of the image."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_prompted import CELLS, SIDE

from edgewright.runtime.errors import BackendError
from edgewright.runtime.geometry import Placement, place
from edgewright.runtime.heads.prompted import alternatives, choose, decode, mask_at_pixels
from edgewright.runtime.masks import output_grid
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, PromptSpec, TensorSpec

# SAM 2's own values: sam2/modeling/sam/mask_decoder.py, dynamic_multimask_stability_delta and _thresh.
SAM2 = PromptSpec(stability_margin=0.05, least_stability=0.98)


def spec(rule: PromptSpec | None = None) -> ModelSpec:
    outputs = (
        TensorSpec(name="m", shape=(1, 4, CELLS, CELLS), dtype="float32"),
        TensorSpec(name="q", shape=(1, 4), dtype="float32"),
    )
    return ModelSpec(
        name="tiny",
        task="prompted",
        labels=("object",),
        inputs=(TensorSpec(name="images", shape=(1, 3, SIDE, SIDE), dtype="float32"),),
        outputs=outputs,
        preprocess=PreprocessSpec(size_hw=(SIDE, SIDE), resize="stretch"),
        head=HeadSpec(kind="prompted", outputs={"masks": "m", "quality": "q"}, prompts=rule),
        postprocess=PostprocessSpec(conf_threshold=0.0),
    )


def squares(*sides: int) -> npt.NDArray[np.float32]:
    """Mask logits (1, M, CELLS, CELLS): +-10, a square of so many cells each at the top left."""
    masks = np.full((1, len(sides), CELLS, CELLS), -10, np.float32)
    for index, side in enumerate(sides):
        masks[0, index, :side, :side] = 10
    return masks


QUALITY = np.array([[0.1, 0.6, 0.9, 0.3]], np.float32)


def test_a_stable_first_mask_is_the_answer_whatever_its_quality() -> None:
    assert choose(squares(8, 3, 4, 5), QUALITY, SAM2).tolist() == [0]


def test_an_unstable_first_mask_gives_way_to_the_alternative_of_the_highest_quality() -> None:
    masks = squares(8, 3, 4, 5)
    masks[0, 0, 8:10, :8] = 0.0  # 16 of 80 pixels are neither in nor out
    assert choose(masks, QUALITY, SAM2).tolist() == [2]
    assert choose(masks, QUALITY, PromptSpec()).tolist() == [0]


def test_an_empty_first_mask_is_stable() -> None:
    # SAM 2 counts a mask without a pixel as stable: torch.where(area_u > 0, area_i / area_u, 1.0).
    assert choose(squares(0, 3, 4, 5), QUALITY, SAM2).tolist() == [0]


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_that_of_transformers(seed: int) -> None:
    modeling = pytest.importorskip("transformers.models.sam2.modeling_sam2")
    random = np.random.default_rng(seed)
    masks = (random.standard_normal((3, 4, 16, 16)) * 4 ** random.uniform(0, 3)).astype(np.float32)
    quality = random.random((3, 4)).astype(np.float32)
    decoder: Any = type("Decoder", (), {})()
    decoder.dynamic_multimask_stability_delta, decoder.dynamic_multimask_stability_thresh = 0.05, 0.98
    decoder._get_stability_scores = lambda logits: modeling.Sam2MaskDecoder._get_stability_scores(decoder, logits)
    wanted, _ = modeling.Sam2MaskDecoder._dynamic_multimask_via_stability(
        decoder, torch.from_numpy(masks)[:, None], torch.from_numpy(quality)[:, None]
    )
    chosen = choose(masks, quality, SAM2)
    assert np.array_equal(masks[np.arange(3), chosen], wanted[:, 0, 0].numpy())


@given(
    source=st.tuples(st.integers(4, 150), st.integers(4, 150)),
    resize=st.sampled_from(["letterbox", "stretch"]),
    seed=st.integers(0, 1000),
    level=st.floats(-1.5, 1.5),
)
def test_a_mask_is_that_of_the_whole_map_enlarged_to_the_image(
    source: tuple[int, int], resize: Any, seed: int, level: float
) -> None:
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.standard_normal((1, 1, 4, 4)).astype(np.float32))
    logits = torch.nn.functional.interpolate(coarse, (CELLS, CELLS), mode="bicubic")[0, 0].numpy() + np.float32(level)
    placed = place(source, PreprocessSpec(size_hw=(SIDE, SIDE), resize=resize))
    found = mask_at_pixels(logits, output_grid(placed, (SIDE, SIDE), logits.shape), source, threshold=0.0).paste(source)
    values = enlarged(logits, placed)
    unclear = np.abs(values) < 0.05  # OpenCV interpolates at 1/32 of a cell
    assert np.array_equal(found[~unclear], (values >= 0)[~unclear])


def enlarged(logits: npt.NDArray[np.float32], placed: Placement) -> npt.NDArray[np.float32]:
    """The logits at the pixels of the image by torch's grid_sample: other code with the same half-pixel rule."""
    axes = []
    for pixels, scale, offset in zip(placed.source_hw[::-1], placed.scale_xy, placed.offset_xy, strict=True):
        axes.append(((np.arange(pixels) + 0.5) * scale + offset) / SIDE * 2 - 1)
    x, y = np.meshgrid(*axes)
    grid = torch.from_numpy(np.stack([x, y], axis=-1)[None].astype(np.float32))
    sampled = torch.nn.functional.grid_sample(
        torch.from_numpy(logits)[None, None], grid, padding_mode="border", align_corners=False
    )
    values: npt.NDArray[np.float32] = sampled[0, 0].numpy()
    return values


def test_masks_are_cropped_to_their_pixels_and_their_boxes_enclose_them() -> None:
    placed = place((SIDE, 2 * SIDE), PreprocessSpec(size_hw=(SIDE, SIDE), resize="stretch"))
    outputs = {"masks": squares(8, 3, 4, 5), "quality": QUALITY}
    found = decode(outputs, spec(), placed, PostprocessSpec(conf_threshold=0.0))
    assert found.boxes_xyxy.tolist() == [[0, 0, 32, 16]]
    assert found.scores.tolist() == pytest.approx([0.1])
    assert found.masks is not None
    assert found.masks[0].pixels.shape == (16, 32)
    others = alternatives(outputs, spec(), placed, PostprocessSpec(conf_threshold=0.0))
    assert others.boxes_xyxy[:, 2:].tolist() == [[12, 6], [16, 8], [20, 10]]
    assert others.scores.tolist() == pytest.approx([0.6, 0.9, 0.3])


def test_answers_below_the_threshold_are_left_out_and_empty_ones_have_an_empty_box() -> None:
    placed = place((SIDE, SIDE), PreprocessSpec(size_hw=(SIDE, SIDE), resize="stretch"))
    outputs = {"masks": np.concatenate([squares(0, 1), squares(4, 1)]), "quality": np.array([[0.7, 1], [0.2, 1]])}
    assert decode(outputs, spec(), placed, PostprocessSpec(conf_threshold=0.0)).boxes_xyxy.tolist() == [
        [0, 0, 0, 0],
        [0, 0, 8, 8],
    ]
    kept = decode(outputs, spec(), placed, PostprocessSpec(conf_threshold=0.5))
    assert kept.scores.tolist() == pytest.approx([0.7])
    assert kept.masks is not None
    assert kept.masks[0].pixels.size == 0


def test_a_mask_of_not_a_number_is_an_error() -> None:
    placed = place((SIDE, SIDE), PreprocessSpec(size_hw=(SIDE, SIDE), resize="stretch"))
    with pytest.raises(BackendError, match="'masks' holds NaN"):
        decode({"masks": squares(2, 2) * np.nan, "quality": QUALITY[:, :2]}, spec(), placed, PostprocessSpec())
