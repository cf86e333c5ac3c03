"""R-CNN and Fast R-CNN: their parts against independent computations, and their graphs against their own forward pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from tests.export.random_networks import TinyBackbone
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import MultiScaleRoIAlign, RoIAlign, RoIPool

from edgewright.export.box_transform import decode_boxes, encode_boxes
from edgewright.export.families.region_classifier import accepts, build
from edgewright.export.from_torch import run_torch
from edgewright.export.graph_editor import DATA_DEPENDENT, tensor_spec
from edgewright.export.model_spec import model_spec
from edgewright.export.parity import parity_images, prove_parity
from edgewright.export.region_networks import RCNN, BoxHead, FastRCNN, RegionNetwork, RegionWarp
from edgewright.export.request import ExportRequest
from edgewright.export.to_onnx import to_onnx
from edgewright.export.torch_source import TorchNetwork, Wrapped
from edgewright.export.trial_regions import trial_regions
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.geometry import place
from edgewright.runtime.proposals import region_tensor
from edgewright.runtime.results import Image
from edgewright.runtime.spec import PreprocessSpec

SIZE = (64, 96)
COUNT = 40
CLASSES = 3
side = st.floats(1, 200)
offset = st.floats(-50, 50)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def head(features: int) -> Any:
    """A head whose classes and boxes differ from region to region."""
    made = BoxHead(features, classes=CLASSES, hidden=(16,))
    with torch.no_grad():
        made.classes.weight.mul_(15)
        made.boxes.weight.mul_(5)
    return made


def stem() -> Any:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 9, 8, 4), torch.nn.ReLU())


def fast_align() -> RegionNetwork:
    return FastRCNN(stem(), RoIAlign(3, 1 / 8, 2), head(72), size_hw=SIZE)


def fast_align_centred() -> RegionNetwork:
    return FastRCNN(stem(), RoIAlign((3, 2), 1 / 8, 2, aligned=True), head(48), size_hw=SIZE)


def fast_pyramid() -> RegionNetwork:
    pool = MultiScaleRoIAlign(["0", "1"], 3, 2, canonical_scale=32, canonical_level=3)
    return FastRCNN(TinyBackbone(channels=8), pool, head(72), size_hw=SIZE)


def fast_max() -> RegionNetwork:
    return FastRCNN(stem(), RoIPool(3, 1 / 8), head(72), size_hw=SIZE)


def rcnn() -> RegionNetwork:
    backbone = torch.nn.Sequential(stem(), torch.nn.Flatten())
    return RCNN(backbone, RegionWarp((16, 24), padding=3), head(48), size_hw=SIZE)


@given(offset, offset, side, side, offset, offset, side, side)
def test_the_box_transform_is_that_of_the_paper(
    px: float, py: float, pw: float, ph: float, gx: float, gy: float, gw: float, gh: float
) -> None:
    """Girshick et al. 2014, appendix C, equations 1 to 9; P and G are a centre, a width and a height."""
    region, box = ([x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h in ((px, py, pw, ph), (gx, gy, gw, gh)))
    wanted = [(gx - px) / pw, (gy - py) / ph, np.log(gw / pw), np.log(gh / ph)]
    regions, boxes = (torch.tensor([values], dtype=torch.float64) for values in (region, box))
    transforms = encode_boxes(boxes, regions, (1.0, 1.0, 1.0, 1.0))
    np.testing.assert_allclose(transforms[0], wanted, rtol=1e-9, atol=1e-9)
    if abs(wanted[2]) < 4 and abs(wanted[3]) < 4:
        np.testing.assert_allclose(
            decode_boxes(transforms, regions, (1.0, 1.0, 1.0, 1.0))[0], box, rtol=1e-9, atol=1e-6
        )


def test_weights_and_the_limit_of_growth_are_those_of_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    transforms = torch.randn(50, 4, generator=generator) * 20
    regions = torch.rand(50, 4, generator=generator) * 20 + torch.tensor([0.0, 0, 20, 20])
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    torch.testing.assert_close(decode_boxes(transforms, regions), coder.decode_single(transforms, regions))
    torch.testing.assert_close(encode_boxes(regions + 1, regions), coder.encode_single(regions + 1, regions))


@given(
    st.lists(
        st.tuples(st.floats(-5, 90), st.floats(-5, 60), st.floats(2, 60), st.floats(2, 40)), min_size=1, max_size=3
    )
)
def test_a_warped_region_is_the_picture_sampled_around_it(shapes: list[tuple[float, float, float, float]]) -> None:
    """SciPy samples the picture where the paper's appendix A puts the pixels of a crop with context padding."""
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in shapes])
    image = np.random.default_rng(0).standard_normal((3, *SIZE))
    crops = RegionWarp((16, 24), padding=4, samples=1)(
        torch.from_numpy(image)[None], [torch.from_numpy(boxes)]
    )  # fmt: skip
    for crop, (x1, y1, x2, y2) in zip(crops.numpy(), boxes, strict=True):
        # The box fills 24 - 2 * 4 columns and 16 - 2 * 4 rows of the crop, behind the padding.
        columns = x1 + (np.arange(24) + 0.5 - 4) * (x2 - x1) / 16 - 0.5
        rows = y1 + (np.arange(16) + 0.5 - 4) * (y2 - y1) / 8 - 0.5
        np.testing.assert_allclose(crop, sampled(image, rows, columns), atol=1e-9)


def sampled(image: npt.NDArray[np.float64], rows: Any, columns: Any) -> npt.NDArray[np.float64]:
    """Bilinear, the border repeated for one pixel and 0 beyond."""
    places = np.meshgrid(rows, columns, indexing="ij")
    inside = ((rows >= -1) & (rows <= SIZE[0]))[:, None] & ((columns >= -1) & (columns <= SIZE[1]))[None]
    planes = [map_coordinates(plane, places, order=1, mode="nearest") for plane in image]
    return np.asarray(np.stack(planes) * inside, np.float64)


def test_padding_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ExportError, match="no room for a region within a padding of 8"):
        RegionWarp((16, 32), padding=8)


def test_a_batch_gives_the_rows_of_its_images_in_a_row() -> None:
    torch.manual_seed(0)
    images, regions = torch.rand(2, 3, *SIZE), [torch.tensor([[1.0, 2, 30, 40]]), torch.tensor([[5.0, 5, 60, 33]] * 2)]
    for make in (fast_align, fast_pyramid, rcnn):
        network = make().eval()
        logits, transforms = network(images, regions)
        assert (logits.shape, transforms.shape) == ((3, CLASSES + 1), (3, CLASSES * 4))
        alone, _ = network(images[1:], regions[1])
        torch.testing.assert_close(logits[1:], alone)


@pytest.fixture
def labels(tmp_path: Path) -> str:
    path = tmp_path / "labels.txt"
    path.write_text("a\nb\nc\n")
    return str(path)


def wrapped_network(make: Callable[[], RegionNetwork], labels: str, roi: str = "op") -> tuple[RegionNetwork, Wrapped]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make().eval()
    assert accepts(network)
    request = ExportRequest.model_validate({"source": "tiny", "labels": labels, "proposals": COUNT, "roi": roi})
    return network, build(TorchNetwork("tiny", network), request)


def feeds_of(image: Image, wrapped: Wrapped, spec: PreprocessSpec) -> dict[str, Any]:
    from edgewright.runtime.preprocess import preprocess

    tensor, placement = preprocess(image, spec)
    return {"images": tensor, "proposals": region_tensor(trial_regions(image, COUNT), placement, COUNT)}


@pytest.mark.parametrize("make", [fast_align, fast_align_centred, fast_pyramid, fast_max, rcnn])
def test_what_goes_into_the_graph_decodes_the_networks_own_answer(
    make: Callable[[], RegionNetwork], labels: str
) -> None:
    network, wrapped = wrapped_network(make, labels)
    feeds = feeds_of(parity_images(SIZE)["scene"], wrapped, wrapped.imported.preprocess)
    regions = torch.from_numpy(feeds["proposals"][0])
    real = ((regions[:, 2:] > regions[:, :2]).all(1)).numpy()
    with torch.no_grad():
        logits, transforms = network(torch.from_numpy(feeds["images"]), regions[real])
    boxes = BoxCoder(network.box_weights).decode_single(transforms, regions[real]).reshape(-1, CLASSES, 4)
    wanted = boxes.numpy().clip(0, [SIZE[1], SIZE[0]] * 2)
    got = run_torch(wrapped, feeds)
    np.testing.assert_allclose(got["boxes"][0][real], wanted, atol=1e-4)
    extended = (wanted[..., 2:] > wanted[..., :2]).all(-1)
    np.testing.assert_allclose(got["scores"][0][real], logits.softmax(1)[:, 1:].numpy() * extended, atol=1e-5)
    assert 0 < np.count_nonzero(~real) < COUNT
    assert not got["scores"][0][~real].any()


@pytest.mark.parametrize(
    ("make", "roi", "operator"),
    [
        (fast_align, "op", "RoiAlign"),
        (fast_align_centred, "grid", "GridSample"),
        (fast_pyramid, "grid", "GridSample"),
        (fast_max, "op", "MaxRoiPool"),
        (rcnn, "op", "RoiAlign"),
        (rcnn, "grid", "GridSample"),
    ],
)
def test_both_engines_find_what_torch_finds(
    make: Callable[[], RegionNetwork], roi: str, operator: str, labels: str, tmp_path: Path
) -> None:
    _, wrapped = wrapped_network(make, labels, roi)
    example = torch.zeros(wrapped.imported.preprocess.tensor_shape)
    inputs = {"images": example, **wrapped.examples}
    model = to_onnx(wrapped.module, inputs, wrapped.outputs, exporters=["legacy"]).model
    operators = {node.op_type for node in model.graph.node}
    assert operator in operators
    assert not operators & (DATA_DEPENDENT | {"RoiAlign", "GridSample", "MaxRoiPool"} - {operator})
    spec = model_spec(
        ExportRequest(source="tiny"),
        wrapped.imported,
        wrapped.labels,
        inputs=tuple(tensor_spec(value) for value in model.graph.input),
        outputs=tuple(tensor_spec(value) for value in model.graph.output),
    )
    assert [tensor.shape for tensor in spec.outputs] == [(1, COUNT, CLASSES, 4), (1, COUNT, CLASSES)]
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    parity = prove_parity(
        lambda feeds: run_torch(wrapped, feeds), tmp_path / "model.onnx", spec, images=parity_images(SIZE)
    )
    assert [(b.problem, b.detections > 40, b.detections - b.matched) for b in parity.backends] == [(None, True, 0)] * 2


def agnostic(logits: int, transforms: int | None) -> Callable[[], RegionNetwork]:
    class Head(torch.nn.Module):
        def forward(self, features: Any) -> Any:
            flat = features.flatten(1)
            scores = flat[:, :logits]
            return scores if transforms is None else (scores, flat[:, -transforms:] / 10)

    return lambda: FastRCNN(stem(), RoIAlign(3, 1 / 8, 2), Head(), size_hw=SIZE)


def test_transforms_may_be_one_for_all_classes_or_none(labels: str) -> None:
    image = parity_images(SIZE)["scene"]
    _, one = wrapped_network(agnostic(CLASSES + 1, 4), labels)
    boxes = run_torch(one, feeds_of(image, one, one.imported.preprocess))["boxes"][0]
    np.testing.assert_array_equal(boxes[:, 0], boxes[:, 2])
    _, none = wrapped_network(agnostic(CLASSES + 1, None), labels)
    feeds = feeds_of(image, none, none.imported.preprocess)
    real = feeds["proposals"][0][:, 2] > feeds["proposals"][0][:, 0]
    got = run_torch(none, feeds)["boxes"][0][real]
    np.testing.assert_allclose(got, feeds["proposals"][0][real][:, None].repeat(CLASSES, 1), atol=1e-4)
    _, with_background = wrapped_network(agnostic(CLASSES + 1, 4 * (CLASSES + 1)), labels)
    assert with_background.imported.classes == CLASSES


def test_a_head_of_another_form_is_refused_with_its_shapes(labels: str) -> None:
    with pytest.raises(ExportError, match=r"the shapes \[\[1, 4\], \[1, 5\]\]; wanted: logits"):
        wrapped_network(agnostic(CLASSES + 1, 5), labels)


def test_what_a_target_or_a_device_cannot_do_is_refused_at_once(labels: str) -> None:
    with pytest.raises(ExportError, match="RoIPool has no form of GridSample"):
        wrapped_network(fast_max, labels, "grid")
    request = ExportRequest(source="tiny", labels=labels, propose="selectiv_search")
    with pytest.raises(UsageError, match="did you mean 'selective_search'"):
        build(TorchNetwork("tiny", fast_align().eval()), request)


@given(st.integers(1, 400), st.integers(1, 400))
def test_the_regions_of_a_trial_leave_padding_and_lie_at_the_limits(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    tensor = region_tensor(trial_regions(image, COUNT), place((height, width), PreprocessSpec(size_hw=SIZE)), COUNT)[0]
    real = (tensor[:, 2:] > tensor[:, :2]).all(1)
    assert 0 < np.count_nonzero(~real) < COUNT / 2
