"""A real U-Net on tiles a fifth of the picture's size finds what it finds on the whole picture."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgewright.export.from_onnx import import_onnx
from edgewright.export.request import ExportRequest
from edgewright.pipeline.recipe import load_recipe
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import SemanticMap

IMAGES = 2


@pytest.fixture(scope="module")
def retina(assets: Path) -> list[tuple[Any, Any]]:
    """The first pictures of the DRIVE test set and their vessels."""
    names = ("all_originals.png", "all_groundTruths.png")
    mosaics = [np.asarray(cv2.imread(str(assets / "data" / "drive_test" / name)), np.uint8) for name in names]
    pictures, masks = ([np.ascontiguousarray(m[:584, 565 * i : 565 * (i + 1)]) for i in range(IMAGES)] for m in mosaics)
    return [(picture, mask[..., 0] > 0) for picture, mask in zip(pictures, masks, strict=True)]


def vessels(assets: Path, folder: Path, retina: list[tuple[Any, Any]], **changes: Any) -> list[Any]:
    recipe = load_recipe(Path("unet_retina.yaml"))
    source = str(assets / "models" / "unet_retina.onnx")
    request = ExportRequest.model_validate(
        {**recipe.model_dump(include=set(ExportRequest.model_fields)), "source": source, **changes}
    )
    with open_predictor(import_onnx(request, folder / "bundle", replace=True)) as predictor:
        found = [predictor(picture) for picture, _ in retina]
    assert all(isinstance(result, SemanticMap) for result in found)
    return [result.class_ids == 1 for result in found if isinstance(result, SemanticMap)]


def dice(found: list[Any], retina: list[tuple[Any, Any]]) -> float:
    both = sum(int((ours & truth).sum()) for ours, (_, truth) in zip(found, retina, strict=True))
    return 2 * both / sum(int(ours.sum() + truth.sum()) for ours, (_, truth) in zip(found, retina, strict=True))


def test_tiles_keep_the_thin_vessels_that_stretching_loses(
    assets: Path, tmp_path: Path, retina: list[tuple[Any, Any]]
) -> None:
    whole = vessels(assets, tmp_path, retina)
    tiled = vessels(assets, tmp_path, retina, size=(256, 256), tile_overlap=32)
    stretched = vessels(assets, tmp_path, retina, size=(256, 256), resize="stretch")
    same = np.mean([np.mean(a == b) for a, b in zip(whole, tiled, strict=True)])
    assert same > 0.999
    assert dice(tiled, retina) == pytest.approx(dice(whole, retina), abs=0.001)
    assert dice(tiled, retina) > dice(stretched, retina) + 0.03
