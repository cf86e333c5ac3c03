"""Networks of transformers come from folders and from kinds, and what is missing is said in a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

import torch
from tests.export.tiny_transformers import LABELS, SIZE, detector, saved

from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork
from edgewright.export.torch_weights import state_digest
from edgewright.export.transformers_input import columns_of, preprocess_of
from edgewright.export.transformers_zoo import load
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import PreprocessSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(detector("yolos"), tmp_path_factory.mktemp("yolos"))


def request(source: str | Path, **options: Any) -> ExportRequest:
    return ExportRequest(source=f"transformers/{source}", **options)


def test_a_folder_gives_its_weights_and_its_labels(folder: Path) -> None:
    network = load(request(folder))
    assert network.categories == LABELS
    assert not network.module.training
    assert state_digest(network.module) == state_digest(detector("yolos"))


def test_random_weights_are_the_same_every_time_and_leave_the_callers_random_state_alone(folder: Path) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    digests = {state_digest(load(request(folder, weights="none")).module) for _ in range(2)}
    assert len(digests) == 1
    assert torch.equal(torch.random.get_rng_state(), state)
    assert digests != {state_digest(load(request(folder)).module)}


def test_random_weights_have_as_many_classes_as_there_are_labels(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    network = load(request(folder, weights="none", labels=str(labels)))
    assert network.module.config.num_labels == 2


def test_a_kind_alone_has_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'rt_detr' is a kind of networks, of which only random ones are at hand: add"):
        load(request("rt_detr"))


def test_a_kind_that_export_does_not_know_is_named_with_those_it_does() -> None:
    with pytest.raises(
        UsageError, match="'bert' is a kind of networks that export does not know; there are detectors: detr,"
    ):
        load(request("bert"))


def test_an_id_that_cannot_be_had_says_what_to_do_and_names_the_closest_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("edgewright.export.transformers_zoo.HfApi.model_info", refuse)
    with pytest.raises(
        ExportError, match=r"did you mean 'rt_detr'\?\), and the Hub does not give it \(no route to host\)"
    ):
        load(request("rt_dtr", weights="none"))


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no config\.json"):
        load(request(tmp_path))


def test_a_folder_without_safetensors_is_refused_and_its_pickle_is_not_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save({"evil": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ExportError, match="has no weights as safetensors"):
        load(request(tmp_path))


def test_weights_that_lack_keys_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("bbox_predictor.layers.0.weight")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"1 missing \(bbox_predictor\.layers\.0\.weight\)"):
        load(request(tmp_path))


def test_a_checkpoint_may_stand_beside_the_configuration(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    network = load(request(tmp_path, weights=str(folder / "model.safetensors")))
    assert state_digest(network.module) == state_digest(detector("yolos"))


def test_a_checkpoint_of_another_network_is_refused_by_its_keys(folder: Path, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3, 3, 1, 1)}, tmp_path / "other.pt")
    with pytest.raises(
        ExportError, match=r"other\.pt do not fit the config\.json of .*: \d+ missing \(.*; 1 unexpected"
    ):
        load(request(folder, weights=str(tmp_path / "other.pt")))


def test_a_damaged_file_of_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ExportError, match="cannot be used"):
        load(request(tmp_path))


class _Network:
    class config:
        model_type = "detr"
        image_size = 640


def preprocessing(kind: str, file: dict[str, Any] | None, **options: Any) -> PreprocessSpec:
    network = _Network()
    network.config.model_type = kind
    return preprocess_of(TorchNetwork(kind, network, None, file), request(kind, **options))


def test_without_a_file_each_kind_is_fed_as_its_published_networks() -> None:
    # The preprocessor_config.json of facebook/detr-resnet-50, PekingU/rtdetr_r50vd, facebook/mask2former-swin-tiny-coco-panoptic.
    detr, rt_detr, mask2former = (preprocessing(kind, None) for kind in ("detr", "rt_detr", "mask2former"))
    assert (detr.size_hw, detr.resize, detr.mean) == ((800, 1088), "stretch", (0.485, 0.456, 0.406))
    assert (rt_detr.size_hw, rt_detr.scale, rt_detr.mean, rt_detr.std) == ((640, 640), 1 / 255, (0.0,) * 3, (1.0,) * 3)
    assert (mask2former.size_hw, mask2former.std) == ((384, 384), (0.229, 0.224, 0.225))


def test_the_file_decides_and_the_user_decides_more() -> None:
    file = json.loads(
        '{"size": {"height": 320, "width": 416}, "do_rescale": false, "image_mean": [1, 2, 3], "resample": 3}'
    )
    own = preprocessing("rt_detr", {**file, "do_normalize": True})
    assert (own.size_hw, own.scale, own.mean, own.interpolation) == ((320, 416), 1.0, (1.0, 2.0, 3.0), "cubic")
    assert preprocessing("rt_detr", file, size=SIZE).size_hw == SIZE
    ranged = preprocessing("detr", {"size": {"shortest_edge": 480, "longest_edge": 600}})
    assert (ranged.size_hw, ranged.resize) == ((480, 576), "stretch")
    old = preprocessing("detr", {"size": 800, "max_size": 1333})
    assert old.size_hw == (800, 1088)
    padded = preprocessing(
        "detr", {"size": {"max_height": 480, "max_width": 640}, "pad_size": {"height": 512, "width": 640}}
    )
    assert (padded.size_hw, padded.resize, padded.pad_value) == ((512, 640), "letterbox_top_left", 0)
    eomt = preprocessing("eomt", {"size": {"shortest_edge": 640, "longest_edge": 640}, "do_pad": True})
    assert (eomt.size_hw, eomt.resize) == ((640, 640), "letterbox_top_left")


def test_a_network_for_pictures_of_every_size_needs_one() -> None:
    with pytest.raises(UsageError, match="choose one with --size H W"):
        preprocessing("detr", {"do_resize": False})
    assert preprocessing("detr", {"do_resize": False}, size=SIZE).size_hw == SIZE


def test_labels_that_do_not_fit_the_classes_are_refused(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    with pytest.raises(UsageError, match="has 2 labels, yolos has 5 classes"):
        columns_of(TorchNetwork("yolos", None), ExportRequest(source="yolos", labels=str(labels)), 5)
