"""Grid YOLOs and YOLOX as torch modules: decoded as their papers say, and the same from the ONNX graph."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tests.export.random_networks import run_graph

from edgewright.export.families import grid_yolo, yolox
from edgewright.export.graph_editor import GraphEditor
from edgewright.export.networks.grid_yolo import GridYolo
from edgewright.export.request import ExportRequest
from edgewright.export.to_onnx import to_onnx
from edgewright.export.torch_source import TorchNetwork
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.results import Detections

SIZE = (64, 96)
CLASSES = 3


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("a\nb\nc\n")
    return str(path)


class Fixed(torch.nn.Module):
    """A network that answers every picture with the same values."""

    def __init__(self, *values: Any) -> None:
        super().__init__()
        self.values = [torch.as_tensor(value, dtype=torch.float32) for value in values]

    def forward(self, images: Any) -> Any:
        answers = [value + 0 * images.mean() for value in self.values]
        return answers if len(answers) > 1 else answers[0]


def request(labels: str, **options: Any) -> ExportRequest:
    return ExportRequest(source="nets:net", labels=labels, size=SIZE, scale=1 / 255, **options)


def run(wrapped: Any) -> dict[str, Any]:
    with torch.no_grad():
        values = wrapped.module(torch.zeros(1, 3, *SIZE))
    return {name: value.numpy() for name, value in zip(wrapped.outputs, values, strict=True)}


def read_as_the_paper(cells: Any, *, roots: bool) -> tuple[Any, Any]:
    """Boxes and scores of cells (rows, columns, B * 5 + C), by arXiv:1506.02640 section 2, one box after another."""
    rows, columns, _ = cells.shape
    boxes, scores = [], []
    for i in range(rows):
        for j in range(columns):
            classes = cells[i, j, -CLASSES:]
            for x, y, w, h, confidence in cells[i, j, :-CLASSES].reshape(-1, 5):
                boxes.append([(j + x) / columns, (i + y) / rows, w**2 if roots else w, h**2 if roots else h])
                scores.append(confidence * classes)
    return np.array(boxes), np.array(scores)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("box_sizes", ["plain", "sqrt", None])
def test_linear_outputs_are_read_as_the_paper_writes_them(labels: str, box_sizes: Any, channels_last: bool) -> None:
    cells = np.random.default_rng(0).uniform(0.01, 0.99, (4, 6, 2 * 5 + CLASSES)).astype(np.float32)
    answer = cells[None] if channels_last else cells.transpose(2, 0, 1)[None].copy()
    wrapped = grid_yolo.build(TorchNetwork("nets:net", Fixed(answer)), request(labels, box_sizes=box_sizes))
    boxes, scores = read_as_the_paper(cells, roots=box_sizes != "plain")
    got = run(wrapped)
    np.testing.assert_allclose(got["boxes"][0], boxes, atol=1e-6)
    np.testing.assert_allclose(got["scores"][0], scores, atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_squashed_outputs_are_read_as_the_paper_does_after_squashing(labels: str, activation: Any) -> None:
    raw = np.random.default_rng(1).normal(size=(2, 3, 5 + CLASSES)).astype(np.float64)
    cells = 1 / (1 + np.exp(-raw))
    if activation == "softmax":
        cells[..., 5:] = np.exp(raw[..., 5:]) / np.exp(raw[..., 5:]).sum(-1, keepdims=True)
    wrapped = grid_yolo.build(
        TorchNetwork("nets:net", Fixed(raw.transpose(2, 0, 1)[None].copy())), request(labels, activation=activation)
    )
    boxes, scores = read_as_the_paper(cells, roots=True)
    got = run(wrapped)
    np.testing.assert_allclose(got["boxes"][0], boxes, atol=1e-6)
    np.testing.assert_allclose(got["scores"][0], scores, atol=1e-6)


def test_linear_outputs_beyond_their_range_are_cut(labels: str) -> None:
    cells = np.full((2, 3, 5 + CLASSES), 1.2, np.float32)
    cells[..., 2] = -0.1
    got = run(
        grid_yolo.build(
            TorchNetwork("nets:net", Fixed(cells.transpose(2, 0, 1)[None].copy())), request(labels, box_sizes="plain")
        )
    )
    assert got["scores"].max() == 1.0
    assert got["boxes"][0, :, 2].max() == 0.0


def test_the_graph_of_a_grid_yolo_gives_what_the_network_gives(labels: str) -> None:
    torch.manual_seed(0)
    network = GridYolo(CLASSES, width=4).eval()
    assert grid_yolo.accepts(network)
    assert not grid_yolo.accepts(torch.nn.Conv2d(3, 3, 1))
    wrapped = grid_yolo.build(TorchNetwork("nets:net", network), request(labels))
    images = torch.rand(1, 3, *SIZE)
    model = to_onnx(wrapped.module, {"images": images}, wrapped.outputs, exporters=["legacy"]).model
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(list(wrapped.outputs), {"images": images.numpy()})
    with torch.no_grad():
        wanted = wrapped.module(images)
    assert [values.shape for values in got] == [(1, 12, 4), (1, 12, CLASSES)]
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [((1, 12, 2, 3), "no grid of B * 5 + 3"), ((1, 13, 3, 3), "no grid of"), ((1, 13), "one tensor")],
)
def test_other_outputs_than_a_grid_are_refused(labels: str, shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(ExportError) as caught:
        grid_yolo.build(TorchNetwork("nets:net", Fixed(np.zeros(shape))), request(labels))
    assert sentence in str(caught.value)


ANCHORS = [(8, 12), (4, 6), (2, 3)]


def yolox_maps(seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.5, (1, 5 + CLASSES, *hw)).astype(np.float32) for hw in ANCHORS]


def test_yolox_rows_are_decoded_as_the_paper_says(labels: str) -> None:
    # Ge et al., arXiv:2107.08430: centre = (offset + cell) * stride, side = exp(t) * stride, score = objectness * class.
    maps = yolox_maps(0)
    got = run(yolox.build(TorchNetwork("nets:net", Fixed(*maps)), request(labels, activation="sigmoid")))
    row = 0
    for values, (rows, columns) in zip(maps, ANCHORS, strict=True):
        stride = SIZE[0] // rows
        for i in range(rows):
            for j in range(columns):
                x, y, w, h, objectness, *classes = values[0, :, i, j].astype(np.float64)
                wanted = [(x + j) * stride, (y + i) * stride, np.exp(w) * stride, np.exp(h) * stride]
                np.testing.assert_allclose(got["boxes"][0, row], wanted, rtol=1e-5)
                score = 1 / (1 + np.exp(-objectness)) / (1 + np.exp(-np.array(classes)))
                np.testing.assert_allclose(got["scores"][0, row], score, rtol=1e-5)
                row += 1
    assert row == got["scores"].shape[1]


class OfficialForm(torch.nn.Module):
    """As the official class: decoded to pixels in evaluation, unless its head is told not to; sigmoid done."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Identity()
        self.head.decode_in_inference = True
        self.levels = torch.nn.ModuleList(torch.nn.Conv2d(3, 5 + CLASSES, s, s) for s in (8, 16, 32))

    def forward(self, images: Any) -> Any:
        rows = torch.cat([level(images).flatten(2) for level in self.levels], dim=2).transpose(1, 2)
        rows = torch.cat([rows[..., :4], rows[..., 4:].sigmoid()], -1)
        return rows * 1000 if self.head.decode_in_inference else rows


def test_the_torch_module_and_its_own_onnx_file_decode_alike(labels: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = OfficialForm().eval()
    wrapped = yolox.build(TorchNetwork("nets:net", network), request(labels))
    assert not network.head.decode_in_inference
    raw = to_onnx(network, {"images": torch.zeros(1, 3, *SIZE)}, ["output"], exporters=["legacy"]).model
    picture = render_scene(0, 1, SIZE).image
    graph = GraphEditor(raw, source="net.onnx")
    imported = yolox.import_onnx(graph, request(labels))
    assert imported == wrapped.imported
    decoded = to_onnx(wrapped.module, {"images": torch.zeros(1, 3, *SIZE)}, wrapped.outputs, exporters=["legacy"]).model
    ours, theirs = run_graph(wrapped, decoded, picture), run_graph(wrapped, graph.model, picture)
    assert isinstance(ours, Detections)
    assert isinstance(theirs, Detections)
    assert len(ours) == 100
    np.testing.assert_allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=1e-3)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)


def test_what_is_not_yolox_is_refused_in_one_sentence(labels: str) -> None:
    with pytest.raises(ExportError, match=r"gives 7 rows of 8 values at 64x96"):
        yolox.build(TorchNetwork("nets:net", Fixed(np.zeros((1, 7, 8)))), request(labels))
    with pytest.raises(UsageError, match="has no softmax"):
        yolox.build(TorchNetwork("nets:net", Fixed(*yolox_maps(0))), request(labels, activation="softmax"))
