"""Two bundles on unlabelled frames: what differs, and where it begins."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper
from tests.pipeline.browser import WIDTHS, browser, look
from tests.planted import moved_classes, planted, without_class
from tests.tiny import blob_image, tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.pipeline.compare import Runner, compare
from edgewright.pipeline.comparison import Comparison
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import UsageError

SCORES = "scores"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pictures with a bolt, and one with a nut beside it; wide, so that a letterbox leaves a margin."""
    folder = tmp_path_factory.mktemp("frames")
    for number, box in enumerate(((16, 24, 56, 64), (40, 8, 100, 60), (8, 40, 60, 90))):
        image = blob_image((96, 160), box)
        image[10:40, 110:150] = (250, 250, 20)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return str(folder)


def compared(a: Bundle, b: Bundle, frames: str, **options: Any) -> Comparison:
    return compare(Runner(a, threads=1), Runner(b, threads=1), frames, **options).comparison


def test_a_bundle_agrees_with_itself(good: Bundle, frames: str) -> None:
    found = compared(good, good, frames)
    assert found.objects is not None
    assert (found.objects.matched, found.objects.a, found.objects.lost, found.objects.new) == (
        found.objects.b,
        found.objects.b,
        0,
        0,
    )
    assert found.objects.a > 3
    assert found.first_difference is not None
    assert (found.first_difference.kind, found.worst, found.passed) == ("none", (), True)


def exchanged_axes(model: onnx.ModelProto) -> None:
    """Boxes as y x h w instead of x y w h."""
    boxes = "boxes"
    for node in model.graph.node:
        node.output[:] = ["planted/boxes" if name == boxes else name for name in node.output]
    parts = [f"planted/part{n}" for n in range(4)]
    model.graph.node.append(helper.make_node("Split", ["planted/boxes"], parts, axis=2, num_outputs=4))
    model.graph.node.append(helper.make_node("Concat", [parts[n] for n in (1, 0, 3, 2)], [boxes], axis=2))
    model.opset_import[0].version = 18


EXCHANGED = moved_classes([1, 0, 2], output=SCORES)
CHANGES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "color": ({"preprocess": {"color": "rgb"}}, "pre-processing", "color", "A feeds BGR, B RGB (B = A with the channels exchanged"),
    "scale": ({"preprocess": {"scale": 1 / 255}}, "pre-processing", "scale", "B = 0.003922 * A; values 20 to 250 in A"),
    "mean": ({"preprocess": {"mean": (100.0, 110.0, 120.0)}}, "pre-processing", "mean", "B = A + [-100, -110, -120]"),
    "std": ({"preprocess": {"std": (2.0, 2.0, 2.0)}}, "pre-processing", "std", "B = 0.5 * A"),
    "stretch": ({"preprocess": {"resize": "stretch"}}, "pre-processing", "resize", "A letterboxes into the top left corner, B stretches"),
    "centre": ({"preprocess": {"resize": "letterbox"}}, "pre-processing", "resize", "64 x 38 at (0, 0) in A, 64 x 38 at (0, 13) in B"),
    "labels shifted": ({"labels": ("nut", "washer", "bolt")}, "decode", "labels shifted", "class 0 is 'bolt' in A and 'nut' in B"),
    "labels permuted": ({"labels": ("nut", "bolt", "washer")}, "decode", "labels permuted", "class 0 is 'bolt' in A and 'nut' in B"),
    "boxes": ({"head": {"boxes": "xyxy_pixels"}}, "decode", "box format", "A reads its boxes as cxcywh_pixels, B as xyxy_pixels"),
    "columns permuted": ({"edit": EXCHANGED}, "raw tensors", "labels permuted", "column 1 of B holds what column 0 of A"),
    "axes": ({"edit": exchanged_axes}, "raw tensors", "box format", "B's boxes have x and y exchanged"),
    "dead": ({"edit": without_class(1, output=SCORES)}, "raw tensors", "dead class", "class 'nut' never scores above 0 in B"),
    "score threshold": ({"postprocess": {"conf_threshold": 0.9}}, "suppression", "conf_threshold", "score threshold: 0.25 in A, 0.9 in B"),
    "NMS threshold": ({"postprocess": {"iou_threshold": 0.05}}, "suppression", "iou_threshold", "NMS threshold: 0.65 in A, 0.05 in B"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_the_first_difference_is_named_with_its_evidence(name: str, good: Bundle, frames: str, tmp_path: Path) -> None:
    changes, stage, kind, evidence = CHANGES[name]
    first = compared(good, planted(good, tmp_path / "bad", **changes), frames).first_difference
    assert first is not None
    assert (first.stage, first.kind) == (stage, kind), first.sentence
    assert evidence in first.sentence


def test_what_is_made_up_for_later_is_no_difference(good: Bundle, frames: str, tmp_path: Path) -> None:
    """Half the pixel values, and a graph that doubles its input."""

    def doubled(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["planted/images" if name == "images" else name for name in node.input]
        two = onnx.numpy_helper.from_array(np.array(2, np.float32), "planted/two")
        model.graph.initializer.append(two)
        model.graph.node.insert(0, helper.make_node("Mul", ["images", "planted/two"], ["planted/images"]))

    same = planted(good, tmp_path / "same", preprocess={"scale": 0.5}, edit=doubled)
    first = compared(good, same, frames).first_difference
    assert first is not None
    assert first.kind == "none"
    assert [stage.agrees for stage in first.stages] == [False, True, True]
    # A dead class in it is the graph's fault, though the input tensors differ as well.
    dead = planted(same, tmp_path / "dead", edit=without_class(1, output=SCORES))
    first = compared(good, dead, frames).first_difference
    assert first is not None
    assert (first.stage, first.kind) == ("raw tensors", "dead class")


def test_of_two_mistakes_the_first_is_named_and_the_other_announced(good: Bundle, frames: str, tmp_path: Path) -> None:
    bad = planted(good, tmp_path / "bad", preprocess={"color": "rgb"}, postprocess={"iou_threshold": 0.1})
    first = compared(good, bad, frames).first_difference
    assert first is not None
    assert first.stage == "pre-processing"
    assert first.sentence.endswith("later on they differ in NMS threshold too")


def test_different_networks_are_compared_by_their_results_alone(good: Bundle, frames: str, tmp_path: Path) -> None:
    other = planted(good, tmp_path / "other", edit=shorter)
    first = compared(good, other, frames).first_difference
    assert first is not None
    assert (first.stage, first.kind) == (None, "different networks")
    assert "output 'boxes' is [1, 84, 4] in A and [1, 20, 4] in B; only their results can be compared" in first.sentence


def shorter(model: onnx.ModelProto) -> None:
    """Only the rows of the two coarse levels remain."""
    for name in ("boxes", "scores"):
        for node in model.graph.node:
            node.output[:] = [f"planted/{name}" if output == name else output for output in node.output]
        bounds = [onnx.numpy_helper.from_array(np.array([n], np.int64), f"planted/{name}/{n}") for n in (64, 84, 1)]
        model.graph.initializer.extend(bounds)
        model.graph.node.append(helper.make_node("Slice", [f"planted/{name}", *(b.name for b in bounds)], [name]))
        value = next(v for v in model.graph.output if v.name == name)
        value.type.tensor_type.shape.dim[1].dim_value = 20


Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Verb:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["compare", *map(str, words)])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


@pytest.fixture(scope="module")
def blind(good: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return planted(good, tmp_path_factory.mktemp("blind") / "bundle", edit=without_class(1, output=SCORES))


def test_without_limits_the_verb_only_tells(good: Bundle, blind: Bundle, frames: str, verb: Verb) -> None:
    status, out, err = verb(good.path, blind.path, "--frames", frames)
    assert (status, err) == (0, "")
    assert "raw tensors differ first: output 'scores' (scores): class 'nut' never scores" in out
    assert "what to do: look at the weights" in out


def test_a_limit_that_is_exceeded_exits_1(good: Bundle, blind: Bundle, frames: str, verb: Verb, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    status, out, _ = verb(
        good.path, blind.path, "--frames", frames, "--max-lost", 0.1, "--max-new", 0.1, "--json", report
    )
    assert status == 1
    assert "EXCEEDED: lost " in out
    assert "holds: new 0, at most 0.1 may be" in out
    found = Comparison.model_validate(json.loads(report.read_text()))
    assert found.objects is not None
    assert found.objects.lost == found.classes[0].lost == found.classes[0].a > 0
    assert (found.classes[0].label, found.passed) == ("nut", False)


def test_one_bundle_is_compared_on_two_engines(good: Bundle, frames: str, verb: Verb) -> None:
    pytest.importorskip("openvino")
    status, out, _ = verb(
        good.path, good.path, "--frames", frames, "--backend-b", "ov", "--max-lost", 0, "--max-score-drift", 0.001
    )
    assert status == 0
    assert "nothing differs in the results" in out


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_shows_the_frames_that_differ_most(
    good: Bundle, blind: Bundle, frames: str, verb: Verb, tmp_path: Path, width: int
) -> None:
    assert verb(good.path, blind.path, "--frames", frames, "--html", tmp_path / "page.html")[0] == 0
    with browser() as started:
        seen = look(started, tmp_path / "page.html", width)
    assert (seen.console, seen.requests, seen.scroll_width) == ([], [], width)
    assert seen.pictures == len(seen.names) == 6
    assert "class 'nut' never scores" in seen.text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--frames", "synthetic:1"), "has no known end; say --max-frames N"),
        (("--frames", "nowhere"), "there is no such file or folder"),
        (
            ("--frames", "synthetic:1:1", "--max-pixels", "0.1"),
            "--max-pixels is of no meaning for these networks",
        ),
        (("--frames", "synthetic:1:1", "--json", "x", "--html", "x"), "give each output a file of its own"),
        (("--frames", "synthetic:1:1", "--precision-b", "int8"), "holds no int8 model"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(
    options: tuple[str, ...], sentence: str, good: Bundle, verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = verb(good.path, good.path, *options)
    assert (status, out) == (2, "")
    assert sentence in err
    assert list(tmp_path.iterdir()) == []


def test_networks_of_different_kinds_are_refused(good: Bundle, frames: str, tmp_path: Path) -> None:
    semantic = planted(good, tmp_path / "semantic", head={"kind": "semantic", "outputs": {"logits": SCORES}})
    changed = semantic.manifest.model_copy(update={"spec": semantic.spec.model_copy(update={"task": "semantic"})})
    other = Bundle(semantic.path, changed)
    with pytest.raises(
        UsageError, match=r"a detect network and .* a semantic network, whose results cannot be compared"
    ):
        compared(good, other, frames)
