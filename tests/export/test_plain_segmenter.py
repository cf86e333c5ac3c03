"""A segmenter of the user's own: what it returns, what must be said of it, and tiles of networks without padding."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgewright.export.families import plain_segmenter
from edgewright.export.networks.unet import UNet
from edgewright.export.request import ExportRequest
from edgewright.export.tiles import centre_margin
from edgewright.export.torch_source import TorchNetwork
from edgewright.pipeline.exporting import export
from edgewright.pipeline.verify import verify
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.errors import EdgeError, ExportError, UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import SemanticMap

NETWORKS = """
import torch
from edgewright.export.networks.segnet import SegNet
from edgewright.export.networks.unet import UNet

def segnet():
    torch.manual_seed(0)
    return SegNet(3, width=4, depth=2)

def valid():
    torch.manual_seed(0)
    return UNet(3, width=4, depth=1, padding="valid")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.set_num_threads(1)
    (tmp_path / "plain_networks.py").write_text(NETWORKS)
    (tmp_path / "labels.txt").write_text("background\na\nb\n")
    (tmp_path / "two.txt").write_text("background\nvessel\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def request(source: str, **options: Any) -> ExportRequest:
    known = {"family": "plain_segmenter", "labels": "labels.txt", "color": "rgb", "resize": "stretch", "scale": 1 / 255}
    return ExportRequest(source=source, **{**known, "size": (32, 40), **options})


def test_a_segnet_becomes_a_bundle_whose_parity_was_proven_against_its_unpooling(project: Path) -> None:
    bundle = export(request("plain_networks:segnet"), project / "bundle")
    assert bundle.spec.head.outputs == {"logits": "logits"}
    assert bundle.spec.head.background_id == 0
    assert bundle.spec.tiling is None
    assert bundle.manifest.parity is not None
    assert [backend.problem for backend in bundle.manifest.parity.backends] == [None, None]
    image = render_scene(0, 0, (48, 64)).image
    with open_predictor(bundle) as predictor:
        found = predictor(image)
    assert isinstance(found, SemanticMap)
    assert found.class_ids.shape == (48, 64)


def test_a_u_net_without_padding_runs_on_tiles_and_gives_the_map_of_the_mirrored_image(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # One pooling: 4 + 2 * 4 + 4 pixels are lost (figure 1 of the paper, one level); tiles keep the phase of the pooling.
    bundle = export(request("plain_networks:valid", size=(48, 56), resize=None, tile_overlap=8), project / "bundle")
    assert "8 px are missing on every side" in caplog.text
    tiling = bundle.spec.tiling
    assert tiling is not None
    assert (tiling.overlap_px, tiling.margin_px) == (8, 8)
    image = render_scene(0, 1, (70, 90)).image
    with open_predictor(bundle) as predictor:
        feeds, placement = predictor.prepare(image)
        logits = predictor.infer(feeds)["logits"].copy()
        found = predictor.finish({"logits": logits}, placement)
    torch.manual_seed(0)
    network = UNet(3, width=4, depth=1, padding="valid").eval()
    mirrored = np.pad(image, ((8, 10), (8, 14), (0, 0)), mode="reflect")
    tensor = torch.from_numpy(mirrored[..., ::-1].transpose(2, 0, 1)[None] / 255).float()
    with torch.no_grad():
        wanted = network(tensor).numpy()[..., :70, :90]
    assert np.abs(logits[..., :70, :90] - wanted).max() < 1e-5
    assert isinstance(found, SemanticMap)
    assert (found.class_ids == wanted[0].argmax(axis=0)).all()
    assert all(check.passed for check in verify(bundle))


class Returning(nn.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self, images: Any) -> Any:
        return self.make(images)


def build(make: Any, **options: Any) -> Any:
    return plain_segmenter.build(TorchNetwork("nets:net", Returning(make)), request("nets:net", **options))


def test_a_dict_and_several_results_give_their_map(project: Path) -> None:
    for make in (lambda x: {"aux": x[:, :1], "out": x}, lambda x: (x, x[:, :1]), lambda x: x):
        assert build(make).imported.classes == 3


def test_one_plane_is_the_probability_of_the_second_class(project: Path) -> None:
    images = torch.randn(1, 3, 32, 40)
    wrapped = build(lambda x: x[:, :1], labels="two.txt")
    assert wrapped.imported.head.outputs == {"probability": "probability"}
    assert torch.equal(wrapped.module(images), images[:, :1].sigmoid())
    finished = build(lambda x: x[:, :1].sigmoid(), labels="two.txt", activation="none")
    assert torch.equal(finished.module(images), images[:, :1].sigmoid())


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (lambda x: x.mean((2, 3)), {}, r"returns \[1, 3\] for an input of \[1, 3, 32, 40\]"),
        (lambda x: "map", {}, "returns str"),
        (lambda x: x.view(7), {}, "fails on an input .* check --size and --color"),
        (lambda x: x, {"size": None, "scale": None}, "are missing: --size, --scale"),
        (lambda x: x, {"resize": None}, "are missing: --resize"),
        (lambda x: x, {"labels": "two.txt"}, "has 2 labels, .* has 3 classes"),
    ],
)
def test_what_is_missing_or_no_map_is_said_in_one_sentence(
    project: Path, make: Any, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(EdgeError, match=sentence) as caught:
        build(make, **options)
    assert "\n" not in str(caught.value)


def test_a_plain_segmenter_is_never_guessed_but_named_as_a_way_out(project: Path) -> None:
    with pytest.raises(UsageError, match=r"which no family knows .* say --family plain_segmenter"):
        export(request("plain_networks:segnet", family=None), project / "bundle")


def test_keys_that_no_plain_segmenter_reads_are_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="does not read boxes_output"):
        export(request("plain_networks:segnet", boxes_output="x"), project / "bundle")


@pytest.mark.parametrize(
    ("input_hw", "map_hw", "margin"),
    [
        ((572, 572), (388, 388), 92),  # the U-Net of the paper
        ((220, 220), (36, 36), 92),
        ((64, 96), (64, 96), 0),
        ((520, 696), (65, 87), 0),
        ((257, 257), (33, 33), 0),  # TensorFlow's DeepLab: a cell at each corner
        ((64, 96), (32, 40), 0),
    ],
)
def test_maps_of_the_centre_are_told_from_coarse_maps(
    input_hw: tuple[int, int], map_hw: tuple[int, int], margin: int
) -> None:
    assert centre_margin(input_hw, map_hw) == margin


def test_an_overlap_that_leaves_nothing_of_a_tile_is_refused_before_anything_is_written(project: Path) -> None:
    with pytest.raises(UsageError, match="multiple of 1 up to 15"):
        export(request("plain_networks:segnet", tile_overlap=16), project / "bundle")
    assert not (project / "bundle").exists()


def test_a_unet_of_a_wrong_size_names_the_size(project: Path) -> None:
    with pytest.raises(ExportError, match=r"input of \[1, 3, 33, 40\]: ValueError: .* must be multiples of 4"):
        plain_segmenter.build(TorchNetwork("nets:net", UNet(3, width=4, depth=2)), request("nets:net", size=(33, 40)))
