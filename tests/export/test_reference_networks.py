"""The reference networks that ship are complete, small, and score what their notes say; two go the whole way to a bundle."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the networks need the extra 'export'")
pytest.importorskip("torchvision", reason="the networks need the extra 'export'")
pytest.importorskip("pycocotools", reason="scoring needs the extra 'dev'")

from edgewright.export.reference import zoo  # noqa: E402
from edgewright.export.reference.catalog import REFERENCES, Reference  # noqa: E402
from edgewright.export.reference.scenes import Collection, collected, draw_scenes  # noqa: E402
from edgewright.pipeline.recipe import builtin_recipes, export_request  # noqa: E402

FOLDER = Path(__file__).parents[2] / "configs" / "reference"
# Scenes that neither training (2024) nor the notes' scores (7001) used.
HELD_OUT_SEED = 515
WEIGHTS = sorted(path.stem for path in FOLDER.glob("*.safetensors"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def held_out(reference: Reference, count: int) -> Collection:
    (drawn,) = collected(draw_scenes(HELD_OUT_SEED, count, [reference.drawn], processes=1), count, [reference.drawn])
    return replace(drawn, spec=reference.spec)


def note_of(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return content


def test_every_network_of_the_catalog_ships_with_weights_a_note_and_a_recipe() -> None:
    trained = [name for name in REFERENCES if name != "yolo"]
    assert sorted(trained) == WEIGHTS
    assert {f"reference_{name}" for name in (*trained, "panoptic")} <= set(builtin_recipes())


def test_all_networks_together_are_small() -> None:
    sizes = [path.stat().st_size for path in FOLDER.iterdir()]
    assert sum(sizes) < 12e6
    assert max(sizes) < 5e6


@pytest.mark.parametrize("name", [*WEIGHTS, "conveyor_yolox"])
def test_a_note_tells_a_score_that_can_fall(name: str) -> None:
    note = note_of(name)
    assert 0.4 < note["score"][note["score"]["metric"]] < 0.95
    assert note["score"]["scenes_seed"] != note["training"]["scenes_seed"]
    assert {"device", "seconds", "versions"} <= set(note)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_weights_fit_the_network_that_the_note_describes(name: str) -> None:
    network = zoo.trained(name, REFERENCES[name].make())
    assert sum(p.numel() for p in network.parameters()) == note_of(name)["network"]["parameters"]
    assert list(REFERENCES[name].spec.size_hw) == note_of(name)["network"]["input"]["size_hw"]


@pytest.mark.parametrize(("name", "scenes"), [("deeplab", 10), ("ssd", 16), ("mask_rcnn", 12)])
def test_held_out_scenes_score_about_what_the_note_says(name: str, scenes: int) -> None:
    reference, note = REFERENCES[name], note_of(name)
    scores = reference.score(zoo.trained(name, reference.make()).eval(), held_out(reference, scenes))
    # So few scenes of other seeds scatter by several hundredths.
    assert scores[reference.metric] == pytest.approx(note["score"][reference.metric], abs=0.15)


@pytest.mark.parametrize(("name", "metric"), [("fcn", "mIoU"), ("faster_rcnn", "AP50")])
def test_a_bundle_scores_what_its_network_does(name: str, metric: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="export needs the extra 'export'")
    from edgewright.pipeline.datasets import open_dataset
    from edgewright.pipeline.evaluate import evaluate
    from edgewright.pipeline.exporting import export

    reference, count = REFERENCES[name], 8
    bundle = export(export_request(f"reference_{name}.yaml", {}), tmp_path / name)
    assert bundle.manifest.parity is not None
    own = bundle.spec.postprocess
    report = evaluate(bundle, open_dataset(f"synthetic:{HELD_OUT_SEED}:{count}"), backend="ort", postprocess=own)
    measured = report.measurement(metric)
    assert measured is not None
    network = zoo.trained(name, reference.make()).eval()
    scores = reference.score(network, held_out(reference, count))
    assert measured.value == pytest.approx(scores[metric], abs=0.003)
