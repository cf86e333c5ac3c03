"""A conditional random field moves the border of a class to the edge of the picture, as part of the semantic head."""

import builtins
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewright.runtime.errors import MissingDependencyError, UsageError
from edgewright.runtime.geometry import PlacedImage, Placement
from edgewright.runtime.heads.semantic import decode
from edgewright.runtime.refine import check_refinement, refinement
from edgewright.runtime.results import SemanticMap
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, TensorSpec

SIZE = (60, 80)
REFINED = PostprocessSpec(refine="crf")


def spec(role: str = "logits", shape: tuple[int, ...] = (1, 2, 15, 20), *, task: Any = "semantic") -> ModelSpec:
    return ModelSpec(
        name="tiny",
        task=task,
        labels=("background", "thing"),
        inputs=(),
        outputs=(TensorSpec(name="map", shape=shape, dtype="float32"),),
        preprocess=PreprocessSpec(size_hw=SIZE, resize="stretch"),
        head=HeadSpec(kind="semantic", outputs={role: "map"}),
    )


@pytest.fixture
def crf() -> None:
    pytest.importorskip("pydensecrf", reason="pydensecrf is not installed")


def scene() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """A red rectangle on grey, where it really is, and a coarse map whose rectangle is two pixels too large on every side."""
    truth = np.zeros(SIZE, bool)
    truth[18:42, 26:54] = True
    image = np.full((*SIZE, 3), 120, np.uint8)
    image[truth] = (30, 30, 200)
    coarse = np.full((15, 20), 0.1, np.float32)
    coarse[4:11, 6:14] = 0.8
    return image, truth, coarse


def found(output: npt.NDArray[Any], role: str, settings: PostprocessSpec, image: Any = None) -> npt.NDArray[Any]:
    placement = Placement(SIZE, SIZE, (0, 0))
    if image is not None:
        placement = PlacedImage(SIZE, SIZE, (0, 0), image)
    result = decode({role: output}, spec(role, output.shape), placement, settings)
    assert isinstance(result, SemanticMap)
    return result.class_ids


@pytest.mark.usefixtures("crf")
@pytest.mark.parametrize("form", ["logits", "probabilities", "one plane"])
def test_the_border_of_a_class_moves_to_the_edge_of_the_picture(form: str) -> None:
    image, truth, coarse = scene()
    both = np.stack([1 - coarse, coarse])[None]
    output = {"logits": np.log(both), "probabilities": both, "one plane": coarse[None, None]}[form]
    role = "probability" if form == "one plane" else "logits"
    before = found(output, role, PostprocessSpec()) == 1
    after = found(output, role, REFINED, image) == 1
    assert (before != truth).sum() > 200
    assert (after != truth).sum() < 0.05 * (before != truth).sum()


@pytest.mark.usefixtures("crf")
def test_refined_probabilities_add_up_to_one_and_unlikely_classes_take_no_part() -> None:
    image, _, _ = scene()
    rng = np.random.default_rng(0)
    values = rng.uniform(0.1, 1, (4, *SIZE)).astype(np.float32)
    values[2] = 0.01
    values /= values.sum(axis=0)
    refined = refinement("crf")(values, image)
    assert refined.shape == values.shape
    np.testing.assert_allclose(refined.sum(axis=0), 1, atol=1e-4)
    assert refined[2].max() == 0


@pytest.mark.usefixtures("crf")
def test_a_picture_of_one_class_stays_as_it_is() -> None:
    image, _, _ = scene()
    certain = np.zeros((1, 2, 15, 20), np.float32)
    certain[0, 0] = 20
    assert (found(certain, "logits", REFINED, image) == 0).all()


@pytest.mark.usefixtures("crf")
def test_a_network_that_gives_no_probabilities_cannot_be_refined() -> None:
    check_refinement(spec(), None)
    check_refinement(spec(), "crf")
    with pytest.raises(UsageError, match="gives class ids alone"):
        check_refinement(spec("class_ids", (1, 15, 20)), "crf")
    with pytest.raises(UsageError, match="is for maps of classes, tiny is a detect network"):
        check_refinement(spec(task="detect"), "crf")
    with pytest.raises(UsageError, match="did you mean 'crf'"):
        check_refinement(spec(), "crfs")


@pytest.mark.usefixtures("crf")
def test_the_head_asks_for_the_picture() -> None:
    _, _, coarse = scene()
    with pytest.raises(UsageError, match="run the network through a Predictor"):
        found(np.stack([1 - coarse, coarse])[None], "logits", REFINED)


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("pydensecrf"):
            raise ModuleNotFoundError(f"No module named '{name}'", name="pydensecrf")
        return original(name, *args, **options)

    monkeypatch.delitem(sys.modules, "edgewright.runtime.refine.crf", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    refinement.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"edgewright\[crf\]"):
        check_refinement(spec(), "crf")
    refinement.cache_clear()
