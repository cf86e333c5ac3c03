"""From a source's name to a bundle: what is found, what is refused, and in which words."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torchvision.models import get_model

from edgewright.export.families import Imported
from edgewright.export.from_torch import import_torch
from edgewright.export.labels import load_labels
from edgewright.export.model_spec import model_spec
from edgewright.export.request import ExportRequest
from edgewright.export.torch_factory import load as load_factory
from edgewright.export.torch_weights import load_state, read_state
from edgewright.export.torchvision_zoo import load as load_torchvision
from edgewright.export.zoos import load_network
from edgewright.pipeline.exporting import export
from edgewright.runtime.errors import EdgeError, ExportError, ParityError, UsageError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec, TensorSpec

FACTORY = """
import torch
from collections import OrderedDict
from torchvision.models.segmentation import FCN

class Backbone(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3, 4, 1)

    def forward(self, x):
        return OrderedDict(out=self.conv(x).relu())

def network():
    torch.manual_seed(0)
    return FCN(Backbone(), torch.nn.Conv2d(6, 3, 1))

def restless():
    net = network()
    net.classifier = torch.nn.Sequential(net.classifier, Noise())
    return net

class Noise(torch.nn.Module):
    def forward(self, x):
        return x + torch.rand(1)

def number():
    return 7

def broken():
    raise ValueError("no data folder")

def stranger():
    return torch.nn.Conv2d(3, 3, 1)

def wordy():
    raise ValueError("no data folder\\nlooked everywhere")

def script():
    raise SystemExit(4)

def half():
    return network().half()

def empty_of_sense():
    net = network()
    net.classifier.weight.data[0, 0] = float("nan")
    return net
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the user's networks, made the working directory."""
    torch.set_num_threads(1)
    (tmp_path / "tiny_networks.py").write_text(FACTORY)
    (tmp_path / "labels.txt").write_text("belt\nbolt\nnut\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def request(source: str, **options: Any) -> ExportRequest:
    return ExportRequest(source=source, **{"labels": "labels.txt", "size": (32, 40), **options})


def test_a_factory_in_the_working_directory_becomes_a_bundle_with_proven_parity(project: Path) -> None:
    bundle = export(request("tiny_networks:network"), project / "bundle")
    assert bundle.spec.labels == ("belt", "bolt", "nut")
    assert bundle.spec.outputs[0].shape == (1, 3, 8, 10)
    assert bundle.manifest.provenance.family == "torchvision_semantic"
    assert bundle.manifest.parity is not None
    assert [backend.problem for backend in bundle.manifest.parity.backends] == [None, None]


def test_a_random_network_fails_parity_and_leaves_no_bundle(project: Path) -> None:
    with pytest.raises(ParityError, match="output 'logits' differs on the image 'blank'") as caught:
        import_torch(request("tiny_networks:restless"), project / "bundle")
    assert "random weights" not in str(caught.value)
    assert not (project / "bundle").exists()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("tiny_network:network", "there is no Python module 'tiny_network'"),
        ("tiny_networks:netwrk", "no function or class 'netwrk' (did you mean 'network'?)"),
        ("tiny_networks:number", "returns a int, a torch.nn.Module is wanted"),
        ("tiny_networks:broken", "ValueError: no data folder"),
        ("tiny_networks:stranger", "gives a Conv2d, which no family knows"),
        ("torchvision/fasterrcnn_resnet50", "(did you mean 'fasterrcnn_resnet50_fpn'?)"),
        (
            "torchvision/keypointrcnn",
            "fcos_resnet50_fpn, lraspp",
        ),  # keypoint networks, which are not taken, are not offered
        ("tiny_networks:wordy", "ValueError: no data folder; it is called without arguments"),
        ("tiny_networks:script", "SystemExit: 4"),
        ("network", "'network' is no source that export knows"),
        ("torchvison/ssd300_vgg16", "is no source that export knows (did you mean 'torchvision'?)"),
        ("smp/", "'smp/' is no source that export knows; give"),
    ],
)
def test_a_source_that_is_none_is_refused_in_one_sentence(project: Path, source: str, sentence: str) -> None:
    with pytest.raises(EdgeError) as caught:
        export(request(source), project / "bundle")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["detr", "torchvision_rcnn", "region_classifier", "prompted", "segmentation_models"])
def test_a_family_that_does_not_know_the_network_is_refused(project: Path, family: str) -> None:
    with pytest.raises(UsageError, match=f"gives a FCN, which is no network of family '{family}'; leave --family out"):
        import_torch(request("tiny_networks:network", family=family), project / "bundle")


@pytest.mark.parametrize("wish", [{"roi": "grid"}, {"proposals": 5}, {"propose": "windows"}, {"thing_ids": (0,)}])
def test_a_wish_about_parts_that_the_network_lacks_is_refused(project: Path, wish: dict[str, Any]) -> None:
    (key,) = wish
    with pytest.raises(UsageError, match=f"family torchvision_semantic have no use for {key}; leave it out"):
        import_torch(request("tiny_networks:network", **wish), project / "bundle")


def test_a_failed_parity_of_random_weights_says_that_they_may_be_the_reason(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_network(request("tiny_networks:restless"))
    monkeypatch.setattr("edgewright.export.from_torch.load_network", lambda request: network)
    with pytest.raises(ParityError, match=r"random weights score all boxes alike, .* give trained weights"):
        import_torch(request("torchvision/any", weights="none"), project / "bundle")


def test_nan_in_the_network_itself_is_said_to_be_its_own(project: Path) -> None:
    with pytest.raises(
        ExportError, match=r"the network itself gives NaN in output 'logits' on the image .* its weights"
    ):
        import_torch(request("tiny_networks:empty_of_sense"), project / "bundle")
    assert not (project / "bundle").exists()


def test_a_network_in_half_precision_is_taken_as_float32(project: Path) -> None:
    module = load_network(request("tiny_networks:half")).module
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}


def test_a_bundle_is_called_by_the_whole_source(project: Path) -> None:
    imported = Imported(
        task="semantic",
        head=HeadSpec(kind="semantic", outputs={"logits": "logits"}),
        preprocess=PreprocessSpec(size_hw=(32, 40)),
        postprocess=PostprocessSpec(),
        classes=3,
    )
    tensors = [(TensorSpec(name=name, shape=(1, 3, 32, 40), dtype="float32"),) for name in ("images", "logits")]
    labels = load_labels("labels.txt")
    for source, name in (
        ("a.b.c:network", "a.b.c:network"),
        ("runs/yolo.v8.onnx", "yolo.v8"),
        ("smp/Unet:tu-x.in1k", "Unet:tu-x.in1k"),
    ):
        spec = model_spec(request(source), imported, labels, inputs=tensors[0], outputs=tensors[1])
        assert spec.name == name


def test_weights_come_from_safetensors_or_a_checkpoint_and_are_put_in(project: Path) -> None:
    state = {
        key: torch.full_like(value, 0.5)
        for key, value in load_factory(request("tiny_networks:network")).module.state_dict().items()
    }
    safetensors.torch.save_file(state, project / "a.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, project / "b.pth")
    for name in ("a.safetensors", "b.pth"):
        loaded = load_factory(request("tiny_networks:network", weights=name)).module
        assert all(bool((value == 0.5).all()) for value in loaded.state_dict().values())


def test_a_checkpoint_that_does_not_fit_lists_the_first_ten_keys_of_each_kind() -> None:
    wanted = torch.nn.ModuleDict({f"layer{i:02}": torch.nn.Linear(2, 2, bias=False) for i in range(12)})
    state = {"layer00.weight": torch.zeros(3, 2), "stem.weight": torch.zeros(1)}
    with pytest.raises(ExportError) as caught:
        load_state(wanted, state, source="net", path=Path("net.pth"))
    text = str(caught.value)
    assert "11 missing (layer01.weight, layer02.weight" in text
    assert "layer10.weight, and 1 more)" in text
    assert "1 unexpected (stem.weight)" in text
    assert "1 misshapen (layer00.weight is [3, 2] instead of [2, 2])" in text


def test_a_checkpoint_with_code_is_refused_and_the_code_does_not_run(project: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (Path("ran"),)  # type: ignore[return-value]

    torch.save({"state_dict": Payload()}, project / "evil.pth")
    with pytest.raises(ExportError, match=r"cannot be read as weights alone \(it holds \S+\); .* never run") as caught:
        read_state(project / "evil.pth")
    assert "weights_only" not in str(caught.value)
    assert not (project / "ran").exists()
    (project / "text.pth").write_text("not a checkpoint")
    with pytest.raises(ExportError, match="cannot be read as weights alone"):
        read_state(project / "text.pth")
    with pytest.raises(ExportError, match="there is no weights file"):
        read_state(project / "none.pth")
    with pytest.raises(ExportError, match=r"no weights file defalt \(did you mean 'default'\?\)"):
        read_state(Path("defalt"))


def test_the_labels_give_the_number_of_classes_of_a_random_network(project: Path) -> None:
    name = "torchvision/lraspp_mobilenet_v3_large"
    assert load_torchvision(request(name, weights="none")).module.classifier.low_classifier.out_channels == 3
    assert (
        load_torchvision(request(name, weights="none", labels=None)).module.classifier.low_classifier.out_channels == 21
    )


def test_random_weights_are_the_same_every_time_and_leave_the_random_state_alone(project: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = (
        load_torchvision(request("torchvision/lraspp_mobilenet_v3_large", weights="none")).module for _ in "ab"
    )
    assert bool((torch.random.get_rng_state() == before).all())
    assert all(
        bool((a == b).all()) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_a_checkpoint_of_torchvision_with_an_auxiliary_classifier_is_taken(project: Path) -> None:
    trained = get_model(
        "deeplabv3_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=3, aux_loss=True
    )
    torch.save(trained.state_dict(), project / "weights.pth")
    network = load_torchvision(request("torchvision/deeplabv3_mobilenet_v3_large", weights="weights.pth"))
    got, wanted = network.module.state_dict(), trained.state_dict()
    assert all(bool((value == wanted[key]).all()) for key, value in got.items())


def test_default_weights_that_cannot_be_downloaded_say_where_to_put_them(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: Any, **options: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ExportError, match=r"cannot be downloaded \(Name or service.*https://.*pth.*--weights none"):
        load_torchvision(request("torchvision/lraspp_mobilenet_v3_large"))


def test_a_factory_has_no_default_weights(project: Path) -> None:
    with pytest.raises(UsageError, match="has no default weights"):
        load_factory(request("tiny_networks:network", weights="default"))
