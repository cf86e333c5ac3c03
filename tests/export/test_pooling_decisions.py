"""A max-unpooling network follows its graph's decisions where rounding makes them, and a wrong rewriting fails all the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests.export.random_networks import random_network
from torch import Tensor, nn

from edgewright.export import to_onnx, unpooling
from edgewright.export.networks.segnet import SegNet
from edgewright.export.parity import parity_images
from edgewright.export.pooling_decisions import following, with_decisions
from edgewright.export.request import ExportRequest
from edgewright.export.unpooling import MaskPool, MaskUnpool
from edgewright.pipeline.exporting import export
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import ExportError, ParityError

SIZE = (64, 96)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        pooled, indices = self.pool(images)
        return self.unpool(pooled, indices, output_size=images.shape[-2:])


def masks_of(module: nn.Module, images: Tensor) -> list[Tensor]:
    rewritten, names = with_decisions(module, (images,))
    return list(rewritten(images))[-len(names) :]


def followed(images: Tensor, masks: list[Tensor]) -> Any:
    module = Decoder()
    return following(module, masks, lambda: module(images), where="here")


def near_ties() -> tuple[Tensor, Tensor]:
    """Pictures alike to 1e-6 with one window that takes another of its values for the largest."""
    images = torch.rand(1, 2, 8, 11, generator=torch.Generator().manual_seed(0))
    images[0, 1, 2:4, 4:6] = torch.tensor([[1.0, 0.5], [0.5, 1.000001]])
    nudged = images.clone()
    nudged[0, 1, 2, 4] += 2e-6
    return images, nudged


def test_a_near_tie_that_falls_to_the_other_side_is_followed_and_counted() -> None:
    images, nudged = near_ties()
    assert float((Decoder()(images) - Decoder()(nudged)).abs().max()) == pytest.approx(1.0, abs=1e-5)
    result, (found,) = followed(images, masks_of(Decoder(), nudged))
    torch.testing.assert_close(result, Decoder()(nudged), atol=1e-5, rtol=0)
    assert (found.windows, found.otherwise) == (2 * 4 * 5, 1)
    assert found.shortfall == pytest.approx(1e-6, rel=0.1)


def test_the_decisions_of_the_network_itself_change_nothing() -> None:
    images = torch.randint(-2, 3, (1, 3, 16, 24)).float().relu()
    network = SegNet(3, width=4, depth=2).eval()
    masks = masks_of(network, images)
    result, found = following(network, masks, lambda: network(images), where="here")
    assert torch.equal(result, network(images))
    assert [(one.otherwise, one.shortfall) for one in found] == [(0, 0.0)] * 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda masks: masks.roll(1, dims=2), "of max-pooling 0 here that falls short"),
        (lambda masks: masks.roll(1, dims=4), "of max-pooling 0 here that falls short"),
        (lambda masks: masks * 0, "max-pooling 0 here do not mark one place"),
        (lambda masks: masks * 0 + 1, "max-pooling 0 here do not mark one place"),
        (lambda masks: masks * 0.5, "max-pooling 0 here do not mark one place"),
    ],
)
def test_decisions_that_rounding_does_not_explain_are_refused(
    change: Callable[[Tensor], Tensor], sentence: str
) -> None:
    images, _ = near_ties()
    (masks,) = masks_of(Decoder(), images)
    with pytest.raises(ParityError, match=sentence):
        followed(images, [change(masks)])


def test_the_last_of_equal_values_in_place_of_the_first_is_another_rule_and_no_rounding() -> None:
    images = torch.rand(1, 3, 16, 24).round()  # as behind a saturated activation
    (masks,) = masks_of(Decoder(), images)
    turned = masks_of(Decoder(), images.flip(2, 3))[0].flip(2, 3, 4)
    followed(images, [masks])
    with pytest.raises(
        ParityError, match=r"another value than the network of max-pooling 0 here in \d+ of 288 windows"
    ):
        followed(images, [turned])


def test_the_bound_follows_the_size_of_the_values() -> None:
    images, _ = near_ties()
    (masks,) = masks_of(Decoder(), images)
    for scale in (1e-8, 1e8):
        followed(images * scale, [masks])
        with pytest.raises(ParityError, match="falls short"):
            followed(images * scale, [masks.roll(1, dims=2)])


def test_a_network_that_gives_nan_is_said_to_do_so() -> None:
    images, _ = near_ties()
    masks = masks_of(Decoder(), images)
    with pytest.raises(ExportError, match="the network itself gives NaN or infinity"):
        followed(images * float("nan"), masks)


def segnet() -> nn.Module:
    torch.set_num_threads(1)
    images = [np.asarray(np.resize(image, (*SIZE, 3)), np.uint8) for image in parity_images(SIZE).values()]
    network: nn.Module = random_network(lambda: SegNet(3, width=8, depth=3), images, {"classifier": (0.0, 2.0)})
    return network


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Bundle]:
    """The export of a SegNet with seeded weights whose features vary on every parity image, by the quick exporter."""
    (tmp_path / "nets.py").write_text("from tests.export.test_pooling_decisions import segnet\n")
    (tmp_path / "labels.txt").write_text("background\na\nb\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(to_onnx, "_EXPORTERS", {"legacy": to_onnx._EXPORTERS["legacy"]})
    request = ExportRequest(
        source="nets:segnet", family="plain_segmenter", labels="labels.txt", size=SIZE, color="rgb", resize="stretch",
        scale=1 / 255,
    )  # fmt: skip
    return lambda: export(request, tmp_path / "bundle")


def test_a_segnet_passes_on_blank_and_noise_and_the_bundle_says_that_decisions_were_followed(
    exported: Callable[[], Bundle],
) -> None:
    bundle = exported()
    parity = bundle.manifest.parity
    assert parity is not None
    assert {"blank", "noise"} <= set(parity.images)
    windows = len(parity.images) * sum(8 * 2**i * SIZE[0] * SIZE[1] // 4 ** (i + 1) for i in range(3))
    for backend in parity.backends:
        assert backend.problem is None
        assert backend.tensors["logits"] < 1e-3
        assert backend.pixels is not None
        assert backend.pixels > 0.999
        assert backend.decisions is not None
        assert backend.decisions.windows == windows
        assert backend.decisions.shortfall < 1e-4
    assert [output.name for output in bundle.spec.outputs] == ["logits"]
    graph = onnx.load(str(bundle.file("model.onnx"))).graph
    assert [value.name for value in graph.output] == ["logits"]


def _shifted_masks(pool: MaskPool, features: Tensor) -> Any:
    pooled, masks = FORWARD["pool"](pool, features)
    return pooled, masks.roll(1, dims=2)


def _neighbours_masks(pool: MaskPool, features: Tensor) -> Any:
    pooled, masks = FORWARD["pool"](pool, features)
    return pooled, masks.roll(1, dims=4)


def _wrong_place(unpool: MaskUnpool, features: Tensor, masks: Tensor, output_size: Any = None) -> Tensor:
    whole: Tensor = FORWARD["unpool"](unpool, features, masks.flip(2), output_size)
    return whole


def _moved(unpool: MaskUnpool, features: Tensor, masks: Tensor, output_size: Any = None) -> Tensor:
    whole: Tensor = FORWARD["unpool"](unpool, features, masks, output_size)
    return whole.roll(1, dims=3)


FORWARD: dict[str, Any] = {"pool": MaskPool.forward, "unpool": MaskUnpool.forward}


@pytest.mark.parametrize(
    ("part", "wrong", "sentence"),
    [
        (MaskPool, _shifted_masks, "of max-pooling 0 on the image 'blank' in backend 'ort' that falls short"),
        (MaskPool, _neighbours_masks, "of max-pooling 0 on the image 'blank' in backend 'ort' that falls short"),
        (MaskUnpool, _wrong_place, "output 'logits' differs on the image 'blank' in backend 'ort'"),
        (MaskUnpool, _moved, "output 'logits' differs on the image 'blank' in backend 'ort'"),
    ],
)
def test_a_wrong_rewriting_fails_the_export_and_leaves_nothing(
    part: type[nn.Module], wrong: Any, sentence: str, exported: Callable[[], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "forward", wrong)
    with pytest.raises(ParityError, match=sentence):
        exported()
    assert not Path("bundle").exists()


def test_another_rule_for_equal_values_fails_the_export(
    exported: Callable[[], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    def last(values: list[Tensor]) -> list[Tensor]:
        return list(reversed(unpooling_first(values[::-1])))

    unpooling_first = unpooling._first_largest
    monkeypatch.setattr(unpooling, "_first_largest", last)
    with pytest.raises(ParityError, match="takes another value than the network of max-pooling"):
        exported()
