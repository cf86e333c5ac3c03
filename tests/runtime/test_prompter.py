"""Prompts asked of a network that masks what is bright in a box."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import blob_image, tiny_bundle
from tests.tiny_prompted import QUALITY, bright_boxes, bright_in_box_bundle

from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.prompter import PromptedPredictor, Prompter, open_prompter
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import PostprocessSpec

# Multiples of the grid, two cells of two pixels in an image of 96 x 128 that is letterboxed to 48 x 64.
LEFT, RIGHT = (16, 24, 56, 64), (72, 32, 120, 88)
IMAGE = bright_boxes([LEFT, RIGHT])


@pytest.fixture(scope="module", name="bundle")
def bundle_fixture(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bright_in_box_bundle(tmp_path_factory.mktemp("prompter") / "bundle", resize="letterbox")


@pytest.fixture(name="prompter")
def prompter_fixture(bundle: Bundle) -> Any:
    with open_prompter(bundle, threads=1) as prompter:
        yield prompter


def around(box: tuple[int, int, int, int], margin: int = 4) -> list[int]:
    return [box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin]


def test_every_box_gets_the_mask_of_what_lies_in_it(prompter: Prompter) -> None:
    prompter.set_image(IMAGE)
    found = prompter.segment(boxes_xyxy=[around(LEFT), around(RIGHT)])
    assert found.scores.tolist() == [QUALITY[0]] * 2
    assert found.masks is not None
    for mask, box, wanted in zip(found.masks, found.boxes_xyxy, (LEFT, RIGHT), strict=True):
        assert np.abs(box - np.array(wanted)).max() <= 1
        truth = np.zeros(IMAGE.shape[:2], bool)
        truth[wanted[1] : wanted[3], wanted[0] : wanted[2]] = True
        got = mask.paste(truth.shape)
        assert np.count_nonzero(got & truth) > 0.95 * np.count_nonzero(got | truth)


def test_multimask_gives_the_alternatives_object_by_object(prompter: Prompter) -> None:
    prompter.set_image(IMAGE)
    found = prompter.segment(boxes_xyxy=[around(LEFT), around(RIGHT)], multimask=True)
    assert found.scores.tolist() == [*QUALITY[1:]] * 2
    # The whole box; all that is bright, however it was asked.
    assert found.boxes_xyxy[0].tolist() == around(LEFT)
    assert np.abs(found.boxes_xyxy[[1, 4]] - [LEFT[0], LEFT[1], RIGHT[2], RIGHT[3]]).max() <= 1


def test_an_image_is_encoded_once_for_all_prompts(prompter: Prompter, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Any] = []
    infer = prompter.encoder.infer

    def counted(feeds: Any) -> Any:
        encoded.append(feeds)
        return infer(feeds)

    monkeypatch.setattr(prompter.encoder, "infer", counted)
    prompter.set_image(IMAGE)
    first = prompter.segment(boxes_xyxy=around(LEFT))
    prompter.segment(boxes_xyxy=around(RIGHT))
    again = prompter.segment(boxes_xyxy=around(LEFT))
    assert len(encoded) == 1
    assert np.array_equal(first.boxes_xyxy, again.boxes_xyxy)
    assert set(prompter.seconds) == {"encode", "decode"}


def test_results_keep_no_reference_to_what_the_next_prompt_overwrites(prompter: Prompter) -> None:
    prompter.set_image(IMAGE)
    (one,) = prompter.segment(boxes_xyxy=around(LEFT)).masks or ()
    before = one.pixels.copy()
    prompter.set_image(bright_boxes([]))
    prompter.segment(boxes_xyxy=around(LEFT))
    assert np.array_equal(one.pixels, before)


def test_a_prompt_without_an_image_and_a_network_without_prompts_are_refused(
    bundle: Bundle, prompter: Prompter, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="call set_image first"):
        prompter.segment(boxes_xyxy=[1, 1, 5, 5])
    detector = tiny_bundle(tmp_path)
    with pytest.raises(UsageError, match="takes no prompts"):
        open_prompter(detector)
    with pytest.raises(UsageError, match="takes no prompts"):
        open_predictor(detector, prompts=["point:1,1"])
    with pytest.raises(UsageError, match="finds what it is pointed at"):
        open_predictor(bundle, prompts=[])


def test_a_predictor_asks_the_same_of_every_image_and_leaves_empty_masks_out(bundle: Bundle) -> None:
    prompts = ["box:5%,10%,50%,75%", "box:5,5,20,15", "box:50%,30%,97%,95%"]
    with open_predictor(bundle, threads=1, prompts=prompts) as predictor:
        assert isinstance(predictor, PromptedPredictor)
        found = predictor(IMAGE)
        assert isinstance(found, Detections)
        assert np.abs(found.boxes_xyxy - [LEFT, RIGHT]).max() <= 1  # the second shows nothing bright
        assert found.track_ids is not None
        assert found.track_ids.tolist() == [1, 3]
        assert predictor.settings["prompts"] == " ".join(prompts)
        larger = predictor(np.kron(IMAGE, np.ones((2, 2, 1), np.uint8)))
        assert isinstance(larger, Detections)
        assert np.abs(larger.boxes_xyxy - 2 * np.array([LEFT, RIGHT])).max() <= 2


def test_the_confidence_threshold_is_one_of_the_expected_quality(bundle: Bundle) -> None:
    strict = PostprocessSpec(conf_threshold=0.8)
    with open_prompter(bundle, threads=1, postprocess=strict) as prompter:
        prompter.set_image(IMAGE)
        assert len(prompter.segment(boxes_xyxy=around(LEFT))) == 0
        assert prompter.segment(boxes_xyxy=around(LEFT), multimask=True).scores.tolist() == [0.875]


def test_openvino_gives_the_masks_of_onnx_runtime(bundle: Bundle, prompter: Prompter) -> None:
    pytest.importorskip("openvino")
    prompter.set_image(blob_image())
    wanted = prompter.segment(boxes_xyxy=[10, 20, 60, 70], multimask=True)
    with open_prompter(bundle, backend="ov", threads=1) as other:
        other.set_image(blob_image())
        found = other.segment(boxes_xyxy=[10, 20, 60, 70], multimask=True)
    assert np.array_equal(found.boxes_xyxy, wanted.boxes_xyxy)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(found.masks or (), wanted.masks or (), strict=True))
