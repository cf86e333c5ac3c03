"""The reference detector learns, its objective means what it says, and its graph is what the network computes."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'export'")
torchvision = pytest.importorskip("torchvision", reason="training needs the extra 'export'")

from edgewright.export.reference.network import PREPROCESS, Detector, WithProbabilities, cells, decode  # noqa: E402
from edgewright.export.reference.objective import Truth, assign, loss  # noqa: E402
from edgewright.export.reference.objective import _overlaps as overlaps  # noqa: E402
from edgewright.export.reference.scenes import Scene, draw_scene, draw_scenes, flipped  # noqa: E402
from edgewright.export.reference.training import Schedule, train  # noqa: E402
from edgewright.runtime.conveyor import LABELS  # noqa: E402

HW = PREPROCESS.size_hw
SCRIPT = Path(__file__).parents[2] / "scripts" / "train_reference"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(draw_scenes(1, 8, PREPROCESS, processes=1))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def truth_of(*objects: tuple[float, float, float, float, int]) -> Truth:
    rows = torch.tensor(objects, dtype=torch.float32).reshape(-1, 5)
    return Truth(rows[:, :4], rows[:, 4].long())


def perfect_raw(truth: Truth, cell_of_object: list[int]) -> Any:
    """Predictions in which one cell per object says exactly what is there, and all others say nothing."""
    places, strides = cells(HW)
    raw = torch.full((1, len(strides), 5 + len(LABELS)), -20.0)
    raw[..., :4] = 0
    for cell, box, class_id in zip(cell_of_object, truth.boxes_xyxy, truth.class_ids, strict=True):
        raw[0, cell, :2] = (box[:2] + box[2:]) / 2 / strides[cell] - places[cell]
        raw[0, cell, 2:4] = ((box[2:] - box[:2]) / strides[cell]).log()
        raw[0, cell, 4] = 20.0
        raw[0, cell, 5 + class_id] = 20.0
    return raw


def test_twenty_steps_lower_the_loss(scenes: list[Scene]) -> None:
    losses: list[float] = []
    schedule = Schedule(steps=20, batch=2, warmup=4)
    train(scenes, schedule, seed=0, on_step=lambda _, value: losses.append(value))
    assert len(losses) == 20
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(scenes: list[Scene]) -> None:
    first, again, other = (train(scenes, Schedule(steps=2, batch=2), seed=seed) for seed in (3, 3, 4))
    pairs = list(zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.stem[0][0].weight, other.stem[0][0].weight)


def test_the_network_is_small_and_covers_three_grids() -> None:
    detector = Detector(len(LABELS))
    assert 2e5 < sum(p.numel() for p in detector.parameters()) < 9e5
    # 256 x 320 in cells of 8, 16 and 32 pixels: 32 * 40 + 16 * 20 + 8 * 10.
    assert detector(torch.zeros(1, 3, *HW)).shape == (1, 1680, 5 + len(LABELS))


def test_decoding_a_perfect_prediction_gives_the_boxes_back() -> None:
    truth = truth_of((10, 20, 30, 50, 1), (100, 90, 260, 200, 4))
    boxes = decode(perfect_raw(truth, [3 * 40 + 2, 1280 + 9 * 20 + 11]), HW)[0]
    assert torch.allclose(boxes[[3 * 40 + 2, 1280 + 9 * 20 + 11]], truth.boxes_xyxy, atol=1e-3)


def test_answering_cells_lie_near_their_object_and_no_cell_answers_twice() -> None:
    truth = truth_of((40, 40, 60, 60, 0), (44, 44, 66, 66, 1), (0, 0, 300, 240, 2))
    raw = Detector(len(LABELS)).eval()(torch.zeros(1, 3, *HW)).detach()
    chosen, objects = assign(raw[0], decode(raw, HW)[0], truth, HW)
    places, strides = cells(HW)
    middle = (truth.boxes_xyxy[:, :2] + truth.boxes_xyxy[:, 2:])[objects] / 2
    away = ((places[chosen] + 0.5) * strides[chosen, None] - middle).abs().amax(dim=1)
    assert (away < 2 * strides[chosen]).all()
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(objects.tolist()) == {0, 1, 2}


def test_a_picture_without_objects_still_teaches_that_nothing_is_there() -> None:
    empty, raw = truth_of(), torch.zeros(1, 1680, 5 + len(LABELS), requires_grad=True)
    value = loss(raw, [empty], HW)
    value.backward()
    assert raw.grad is not None
    assert (raw.grad[..., 4] > 0).all()
    assert (raw.grad[..., :4] == 0).all()


def test_overlaps_equal_those_of_torchvision() -> None:
    generator = torch.Generator().manual_seed(5)
    low = torch.rand(50, 2, generator=generator) * 50
    boxes = torch.cat([low, low + 1 + torch.rand(50, 2, generator=generator) * 40], dim=1)
    others = boxes.roll(1, dims=0)
    overlap, generalized = overlaps(boxes, others)
    assert torch.allclose(overlap, torchvision.ops.box_iou(boxes, others).diagonal(), atol=1e-5)
    assert torch.allclose(generalized, torchvision.ops.generalized_box_iou(boxes, others).diagonal(), atol=1e-5)


def test_flipping_moves_the_boxes_with_the_pixels() -> None:
    scene = draw_scene(1, PREPROCESS, 0)
    tensor = np.full_like(scene.tensor, 114)
    tensor[:, :240] = 0
    tensor[:, 30:50, 100:160] = 255
    marked = replace(scene, tensor=tensor, boxes_xyxy=np.array([[100, 30, 160, 50]], np.float32))
    rng, seen = np.random.default_rng(0), set()
    for _ in range(20):
        turned = flipped(marked, rng)
        rows, columns = np.nonzero(turned.tensor[0] == 255)
        assert turned.boxes_xyxy[0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        # Below the picture lies the padding of the letterbox.
        assert (turned.tensor[:, 240:] == 114).all()
        seen.add(tuple(turned.boxes_xyxy[0].tolist()))
    assert len(seen) == 4


def test_drawing_with_two_processes_gives_the_same_scenes(scenes: list[Scene]) -> None:
    again = list(draw_scenes(1, 4, PREPROCESS, processes=2))
    assert all(np.array_equal(a.tensor, b.tensor) for a, b in zip(scenes[:4], again, strict=True))


def test_the_exported_graph_computes_what_the_network_does(scenes: list[Scene]) -> None:
    onnx = pytest.importorskip("onnx", reason="reading the graph needs the extra 'onnx'")
    import onnxruntime

    from edgewright.export.reference.release import onnx_bytes

    torch.manual_seed(0)
    detector = Detector(len(LABELS)).eval()
    graph = onnx_bytes(detector)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    picture = scenes[0].tensor[None].astype(np.float32)
    (got,) = session.run(["output"], {"images": picture})
    wanted = WithProbabilities(detector, HW)(torch.from_numpy(picture)).detach().numpy()
    assert np.allclose(got, wanted, atol=1e-3)
    model = onnx.load_from_string(graph)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [17]
    # No operator that engines for small devices lack or quantize badly; equal constants are shared by Identity.
    wanted_ops = {"Conv", "Relu", "Add", "Concat", "Resize", "Reshape", "Transpose", "Sigmoid", "Slice"}
    assert {node.op_type for node in model.graph.node} - {"Constant", "Identity"} == wanted_ops


def test_the_script_names_a_wrong_option_and_exits_with_2(tmp_path: Path) -> None:
    call = [sys.executable, str(SCRIPT), "--steps", "0", "-o", str(tmp_path / "x.onnx")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--steps" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_training_leaves_no_file(tmp_path: Path) -> None:
    call = [sys.executable, str(SCRIPT), "--scenes", "4", "--steps", "5000", "--threads", "1"]
    call += ["-o", str(tmp_path / "detector.onnx")]
    with subprocess.Popen(
        call, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as running:
        assert running.stderr is not None
        while "step" not in running.stderr.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        rest = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
