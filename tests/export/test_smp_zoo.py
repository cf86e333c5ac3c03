"""Segmenters of segmentation_models_pytorch: names, weights, normalisation, and parity of every kind of encoder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch

pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")
import segmentation_models_pytorch as smp

from edgewright.export.families.segmentation_models import accepts, build, normalisation
from edgewright.export.request import ExportRequest
from edgewright.export.smp_zoo import load
from edgewright.export.to_onnx import to_onnx
from edgewright.export.torch_source import TorchNetwork
from edgewright.runtime.errors import EdgeError, ExportError

SIZE = (64, 96)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.set_num_threads(1)
    (tmp_path / "labels.txt").write_text("background\na\nb\n")
    (tmp_path / "two.txt").write_text("background\nvessel\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def request(name: str, **options: Any) -> ExportRequest:
    return ExportRequest(source=f"smp/{name}", **{"labels": "labels.txt", "weights": "none", "size": SIZE, **options})


# Residual, inception and dense encoders.
@pytest.mark.parametrize("name", ["Unet:resnet18", "FPN:inceptionv4", "Linknet:densenet121"])
def test_the_graph_of_every_kind_of_encoder_agrees_with_torch(name: str) -> None:
    wanted = request(name)
    network = load(wanted)
    assert accepts(network.module)
    wrapped = build(network, wanted)
    images = torch.rand(1, 3, *SIZE)
    model = to_onnx(wrapped.module, {"images": images}, wrapped.outputs, exporters=["legacy"]).model
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        reference = network.module(images).numpy()
    assert got.shape == (1, 3, *SIZE)
    assert (np.abs(got - reference) / np.maximum(1, np.abs(reference))).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("Une:resnet18", {}, "no architecture 'Une' (did you mean 'Unet'?)"),
        ("Unet:resnet19", {}, "no encoder 'resnet19' (did you mean 'resnet18'?)"),
        ("Unet:tu-resnet18x", {}, "(did you mean 'tu-resnet18'?)"),
        ("Unet", {}, "is neither a folder nor smp/ARCHITECTURE:ENCODER"),
        ("Unet:resnet18", {"weights": "default"}, "has no default weights: those of its encoder classify images"),
        ("Unet:resnet18", {"weights": None}, "has no default weights"),
        ("Unet:resnet18", {"labels": None}, "the labels of smp/Unet:resnet18 are missing"),
        ("UnetPlusPlus:mit_b0", {}, "choose another encoder for this architecture"),
    ],
)
def test_a_name_that_does_not_exist_or_fit_is_refused_in_one_sentence(
    name: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(EdgeError) as caught:
        load(request(name, **options))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_size_that_the_network_cannot_take_is_explained_by_its_own_words() -> None:
    wanted = request("DeepLabV3Plus:resnet18", size=(65, 96))
    with pytest.raises(ExportError, match="divisible by 16"):
        build(load(wanted), wanted)


def test_the_checkpoint_gives_the_number_of_classes_and_what_does_not_fit_is_listed(project: Path) -> None:
    trained = smp.Unet("resnet18", encoder_weights=None, classes=1)
    torch.save(trained.state_dict(), project / "vessels.pth")
    wanted = request("unet:resnet18", weights="vessels.pth", labels="two.txt")
    network = load(wanted)
    assert torch.equal(network.module.segmentation_head[0].weight, trained.segmentation_head[0].weight)
    assert build(network, wanted).imported.head.outputs == {"probability": "probability"}
    with pytest.raises(ExportError, match=r"does not fit smp/Unet:resnet34: .* missing"):
        load(request("Unet:resnet34", weights="vessels.pth"))


def test_a_saved_folder_is_taken_with_its_own_weights(project: Path) -> None:
    trained = smp.FPN("resnet18", encoder_weights=None, classes=3)
    folder = project / "fpn"
    folder.mkdir()
    config = {key: value for key, value in trained.config.items() if not key.startswith("_")}
    (folder / "config.json").write_text(json.dumps({**config, "_model_class": "FPN"}))
    safetensors.torch.save_file(trained.state_dict(), folder / "model.safetensors")
    network = load(request("fpn", weights=None))
    assert isinstance(network.module, smp.FPN)
    assert torch.equal(network.module.segmentation_head[0].weight, trained.segmentation_head[0].weight)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ExportError, match=r"holds neither model.safetensors nor"):
        load(request("fpn", weights=None))
    (folder / "config.json").write_text("{}")
    with pytest.raises(ExportError, match="does not describe a network of smp"):
        load(request("fpn", weights=None))


def test_random_weights_are_the_same_every_time() -> None:
    first, second = (load(request("Unet:resnet18")).module.state_dict() for _ in "ab")
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize(
    ("encoder", "mean", "std"),
    [
        # The values that the library's documentation and timm's configurations give for ImageNet weights.
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("inceptionv4", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("xception", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("tu-inception_v3", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("dpn68", (0.48627450980392156, 0.4588235294117647, 0.40784313725490196), (0.23482446870963955,) * 3),
    ],
)
def test_an_encoder_is_fed_as_its_pretraining_was(encoder: str, mean: Any, std: Any) -> None:
    got = normalisation(encoder)
    assert got[0] == pytest.approx(mean)
    assert got[1] == pytest.approx(std)


def test_a_network_that_activates_its_map_itself_is_not_activated_again() -> None:
    network = smp.Unet("resnet18", encoder_weights=None, classes=1, activation="sigmoid").eval()
    wrapped = build(TorchNetwork("nets:unet", network), request("Unet:resnet18", labels="two.txt"))
    images = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(wrapped.module(images), network(images))
