"""Recipes that ship with the package, and where a recipe's network is looked for."""

from pathlib import Path

import pytest
from tests.tiny import save_blue_blob_yolox

from edgewright.export.families import load_family
from edgewright.export.labels import load_labels
from edgewright.pipeline.recipe import builtin_recipes, export_request, load_recipe
from edgewright.runtime.errors import UsageError


@pytest.mark.parametrize("name", builtin_recipes())
def test_a_recipe_that_ships_is_complete(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(Path(f"{name}.yaml"))
    if recipe.family is not None:
        family = load_family(recipe.family)
        assert hasattr(family, "EXPECTS") or hasattr(family, "build")
    if recipe.labels is not None:
        assert load_labels(recipe.labels).labels


def test_the_network_of_a_recipe_is_looked_for_in_three_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes, here, elsewhere = (tmp_path / name for name in ("recipes", "here", "elsewhere"))
    for folder in (recipes, here, elsewhere):
        folder.mkdir()
    recipe = recipes / "blob.yaml"
    recipe.write_text("source: blob.onnx\nfamily: yolox\n")
    monkeypatch.chdir(here)
    with pytest.raises(
        UsageError, match=r"blob.onnx is neither beside the recipe nor in the working directory; .* --source FILE"
    ):
        export_request(str(recipe), {})
    given = save_blue_blob_yolox(elsewhere / "mine.onnx")
    assert export_request(str(recipe), {}, network=str(given)).source == str(given)
    save_blue_blob_yolox(here / "blob.onnx")
    assert export_request(str(recipe), {}).source == "blob.onnx"
    save_blue_blob_yolox(recipes / "blob.onnx")
    assert export_request(str(recipe), {}).source == str(recipes / "blob.onnx")


def test_options_go_before_the_recipes_keys(tmp_path: Path) -> None:
    save_blue_blob_yolox(tmp_path / "blob.onnx")
    (tmp_path / "blob.yaml").write_text("source: blob.onnx\nfamily: yolox\ncolor: bgr\nscale: 2.0\n")
    request = export_request(str(tmp_path / "blob.yaml"), {"color": "rgb", "scale": None})
    assert (request.color, request.scale, request.family) == ("rgb", 2.0, "yolox")


def test_a_source_is_for_recipes_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--source says where a recipe's network lies, and net\.onnx is no recipe"):
        export_request("net.onnx", {}, network="other.onnx")


def test_an_unknown_recipe_suggests_the_closest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file yolov8m_seg.yaml \(did you mean 'yolov8n_seg'\?\)"):
        load_recipe(Path("yolov8m_seg.yaml"))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("box_formt: xyxy_unit", r"there is no key 'box_formt' \(did you mean 'box_format'\?\)"),
        ("box_format: xyxy", "'box_format' .*'xyxy_pixels'.* got 'xyxy'"),
        ("head: densely", "'head' .*'dense'.* got 'densely'"),
        ("class_map: []", "'class_map' .* at least 1 item"),
        ("mask_threshold: 1.0", "'mask_threshold' .*less than 1"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_line(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "r.yaml").write_text(f"source: net.onnx\nfamily: generic\n{line}\n")
    with pytest.raises(UsageError, match=f"r.yaml, line 3: {sentence}"):
        load_recipe(tmp_path / "r.yaml")
