"""A network that takes its regions from outside, from the factory to the last number, as a user meets it."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgewright.export.from_torch import import_torch
from edgewright.export.request import ExportRequest
from edgewright.pipeline.benchmark import benchmark
from edgewright.pipeline.calibration_images import candidates, feeds_of
from edgewright.pipeline.cli import main
from edgewright.pipeline.datasets import open_dataset
from edgewright.pipeline.evaluate import evaluate
from edgewright.pipeline.proposing import propose
from edgewright.pipeline.verify import verify
from edgewright.runtime.bundle import Bundle, load_bundle
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.proposals import open_method
from edgewright.runtime.proposals.file import thumbprint
from edgewright.runtime.results import Detections

FACTORY = """
import torch
from torchvision.ops import RoIAlign
from edgewright.export.region_networks import BoxHead, FastRCNN

def small():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 9, 8, 4), torch.nn.ReLU())
        head = BoxHead(72, classes=6, hidden=(16,))
        with torch.no_grad():
            head.classes.weight.mul_(20)
        return FastRCNN(backbone, RoIAlign(3, 1 / 8, 2), head, size_hw=(96, 128))
"""

OPTIONS = ("--proposals", "60", "--propose", "windows")

needs_contrib = pytest.mark.skipif(not hasattr(cv2, "ximgproc"), reason="this OpenCV has no contrib modules")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("propose")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    (folder / "regional.py").write_text(FACTORY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("export", "regional:small", "--labels", "conveyor", *OPTIONS, "-o", folder / "bundle") == 0
    return load_bundle(folder / "bundle")


def run(*words: Any) -> int:
    """The exit status."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_export_says_who_proposes_how_many_regions_and_can_be_verified(bundle: Bundle) -> None:
    wanted = bundle.spec.proposals
    assert wanted is not None
    assert (wanted.method, wanted.count, wanted.input) == ("windows", 60, "proposals")
    assert [(tensor.name, tensor.shape) for tensor in bundle.spec.inputs][1] == ("proposals", (1, 60, 4))
    assert bundle.manifest.parity is not None
    assert all(backend.matched == backend.detections > 0 for backend in bundle.manifest.parity.backends)
    assert all(check.passed for check in verify(bundle))


@needs_contrib
def test_a_run_tells_the_time_of_the_search_apart(bundle: Bundle, tmp_path: Path, capsys: Any) -> None:
    sink = tmp_path / "run.jsonl"
    search = "selective_search?size=80"
    words = (
        "--source",
        "synthetic:1:2",
        "--sink",
        f"jsonl:{sink}",
        "--propose",
        search,
        "--json",
        tmp_path / "run.json",
        "--loop",
        "sequential",
    )
    assert run("run", bundle.path, *words) == 0
    for line in lines(sink):
        # The drawn pictures are labelled, so the run is watched.
        assert list(line["latency_ms"]) == ["capture", "propose", "prepare", "infer", "finish", "watch"]
        assert line["latency_ms"]["propose"] > line["latency_ms"]["prepare"]
    stages = [row.split()[0] for row in capsys.readouterr().out.splitlines() if row]
    assert stages[stages.index("capture") + 1] == "propose"
    settings = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert {key: value for key, value in settings.items() if key.startswith("proposals")} == {
        "proposals": "selective_search", "proposals.count": 60, "proposals.mode": "fast", "proposals.size": 80,
    }  # fmt: skip


def test_stored_regions_give_the_detections_of_the_method_that_made_them(bundle: Bundle, tmp_path: Path) -> None:
    reports = {}
    assert run("propose", "--data", "synthetic:1:3", "--method", "windows", "-o", tmp_path / "boxes.npz") == 0
    for name, method in (("own", "windows"), ("stored", f"file:{tmp_path / 'boxes.npz'}")):
        out = tmp_path / f"{name}.json"
        words = ("--data", "synthetic:1:3", "--propose", method, "--detections", out)
        assert run("evaluate", bundle.path, *words) == 0
        reports[name] = json.loads(out.read_text())
    assert reports["stored"] == reports["own"]
    assert len(reports["own"]) > 20


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_regions_of_other_pictures_by_the_same_names_are_refused(
    bundle: Bundle, tmp_path: Path, capsys: Any, suffix: str
) -> None:
    boxes = tmp_path / f"boxes.{suffix}"
    assert run("propose", "--data", "synthetic:1:2", "--method", "windows", "-o", boxes) == 0
    assert run("evaluate", bundle.path, "--data", "synthetic:2:2", "--propose", f"file:{boxes}") == 2
    assert "are of another picture: this one looks otherwise than theirs" in capsys.readouterr().err


def test_a_picture_is_known_again_after_compression_and_not_at_another_size(tmp_path: Path) -> None:
    image = render_scene(3, 0).image
    print_of = {"picture:a.jpg": thumbprint(image).tolist(), "a.jpg": [[1, 2, 30, 40]]}
    (tmp_path / "boxes.json").write_text(json.dumps(print_of))
    method = open_method(f"file:{tmp_path / 'boxes.json'}")
    packed = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    assert len(method(np.asarray(packed, np.uint8), ("a.jpg",))) == 1
    with pytest.raises(DataError, match=r"this one is \d+ x \d+, where theirs was \d+ x \d+"):
        method(np.ascontiguousarray(image[::2]), ("a.jpg",))


def test_a_report_says_how_many_objects_the_regions_cover(bundle: Bundle) -> None:
    """Every object is covered by a region of its own here, so not more of them than have a region that is near enough."""
    data = open_dataset("synthetic:1:4")
    values = {m.name: m.value for m in evaluate(bundle, data, threads=1).measurements}
    near = propose(data, method="windows", count=60).covered
    assert near is not None
    assert 0 < values["proposal-recall50"] <= near
    assert values["proposal-AR10"] <= values["proposal-AR100"] == values["proposal-AR1000"]
    assert {"any-AR10", "any-AR100", "any-recall50"} <= set(values)


def test_a_picture_that_the_file_does_not_know_ends_the_run_with_its_name(
    bundle: Bundle, tmp_path: Path, capsys: Any
) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.full((60, 80, 3), 90, np.uint8))
    (tmp_path / "boxes.json").write_text('{"a.png": [[1, 2, 30, 40]]}')
    words = ("--source", tmp_path / "a.png", "--propose", f"file:{tmp_path / 'boxes.json'}")
    assert run("run", bundle.path, *words) == 0
    assert run("run", bundle.path, "--source", tmp_path / "b.png", *words[2:]) == 2
    assert "have no regions of 'b.png' or '0'" in capsys.readouterr().err


def test_a_benchmark_times_the_search_apart_and_counts_it_in(bundle: Bundle) -> None:
    report = benchmark(bundle, seconds=0, iterations=5, warmup=1, cold_start_repeats=0, threads=1)
    values = {m.name: m.value for m in report.measurements}
    stages = sum(values[f"latency.{stage}.mean"] for stage in ("propose", "prepare", "infer", "finish"))
    assert values["latency.end_to_end.mean"] == pytest.approx(stages)
    assert report.settings["benchmark"]["proposals"] == "windows"


def test_a_picture_without_regions_has_no_detections(bundle: Bundle) -> None:
    image = open_dataset("synthetic:1:1")
    picture = next(iter(image)).image()
    with open_predictor(bundle, threads=1) as predictor:
        full = predictor(picture)
        feeds, placement = predictor.prepare(picture, np.zeros((0, 4), np.float32))
        empty = predictor.finish(predictor.infer(feeds), placement)
    assert isinstance(full, Detections)
    assert isinstance(empty, Detections)
    assert (len(full) > 0, len(empty)) == (True, 0)


def test_the_share_of_covered_objects_is_counted() -> None:
    data = open_dataset("synthetic:1:2")
    coarse = propose(data, method="windows?smallest=0.5").covered
    fine = propose(data, method="windows?smallest=0.06", count=20_000).covered
    assert coarse is not None
    assert fine is not None
    assert coarse < 0.2 < fine


def test_regions_that_a_network_does_not_take_are_refused(bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    request = ExportRequest(source="torchvision/lraspp_mobilenet_v3_large", weights="none", size=(32, 32), proposals=50)
    with pytest.raises(UsageError, match="torchvision_semantic have no use for proposals; leave it out"):
        import_torch(request, tmp_path / "bundle")
    plain = request.model_copy(update={"proposals": None, "propose": "windows"})
    with pytest.raises(UsageError, match="have no use for propose; leave it out"):
        import_torch(plain, tmp_path / "bundle")
    assert run("propose", "--data", "synthetic:1:1", "-o", tmp_path / "boxes.txt") == 2


def test_calibration_is_fed_with_regions_as_the_device_is(bundle: Bundle) -> None:
    (picture,) = candidates("synthetic:1:1")
    (feed,) = feeds_of(bundle, (picture,))
    with open_predictor(bundle) as predictor:
        wanted, _ = predictor.prepare(picture.image())
        fed = feed()
        assert set(fed) == {"images", "proposals"}
        for name, values in fed.items():
            np.testing.assert_array_equal(values, wanted[name])
