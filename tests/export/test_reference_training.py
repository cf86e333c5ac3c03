"""The reference networks learn, their objectives mean what they say, and what is written is what was trained."""

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

from edgewright.export.reference import losses, zoo  # noqa: E402
from edgewright.export.reference.catalog import REFERENCES  # noqa: E402
from edgewright.export.reference.detector import PREPROCESS, Detector, WithProbabilities, cells, decode  # noqa: E402
from edgewright.export.reference.detector_loss import _overlaps as overlaps  # noqa: E402
from edgewright.export.reference.detector_loss import assign, loss  # noqa: E402
from edgewright.export.reference.release import started, weights_bytes  # noqa: E402
from edgewright.export.reference.scenes import (  # noqa: E402
    Batch,
    Collection,
    Truth,
    collected,
    draw_scenes,
    load,
    save,
    varied,
)
from edgewright.export.reference.scoring import Found, box_scores  # noqa: E402
from edgewright.export.reference.training import Schedule, _follow, train  # noqa: E402
from edgewright.runtime.conveyor import LABELS, render_scene  # noqa: E402

HW = PREPROCESS.size_hw
SCRIPT = Path(__file__).parents[2] / "scripts" / "train_reference"
YOLO = REFERENCES["yolo"]


@pytest.fixture(scope="module")
def scenes() -> Collection:
    (drawn,) = collected(draw_scenes(1, 6, [PREPROCESS], processes=1), 6, [PREPROCESS])
    return drawn


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


def small_batch(scenes: Collection, size_hw: tuple[int, int] = (64, 96)) -> tuple[Any, Batch]:
    """A corner of two scenes with one part each, for losses whose whole pictures would take seconds."""
    h, w = size_hw
    owners = torch.zeros(2, h, w, dtype=torch.uint8)
    owners[:, 10:40, 20:60] = 1
    truths = [truth_of((20, 10, 60, 40, 2)), truth_of((20, 10, 60, 40, 4))]
    regions = [torch.tensor([[18.0, 12, 61, 41], [70, 5, 90, 25]])] * 2
    return torch.rand(2, 3, h, w), Batch(scenes.tensors[:2, :, :h, :w].float(), truths, owners, regions)


def test_twenty_steps_lower_the_loss(scenes: Collection) -> None:
    values: list[float] = []
    schedule = Schedule(steps=20, batch=2, warmup=4)
    trained = train(YOLO.make, YOLO.loss, scenes, schedule, seed=0, on_step=lambda _, value: values.append(value))
    assert trained.steps == len(values) == 20
    assert np.mean(values[-5:]) < 0.85 * np.mean(values[:5])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(scenes: Collection) -> None:
    schedule = Schedule(steps=2, batch=2)
    first, again, other = (
        train(YOLO.make, YOLO.loss, scenes, schedule, seed=seed).network.state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(a, b) for a, b in zip(first.values(), again.values(), strict=True))
    assert not torch.equal(first["stem.0.0.weight"], other["stem.0.0.weight"])


def test_what_is_returned_is_the_running_average_of_the_weights() -> None:
    average, network = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    network.running_mean.fill_(8.0)
    network.weight.data.fill_(5.0)
    network.num_batches_tracked.fill_(7)
    _follow(average, network, 0.75)
    assert average.running_mean.tolist() == [2.0] * 3
    assert average.weight.tolist() == [2.0] * 3
    assert average.num_batches_tracked == 7


def test_time_ends_a_training_that_has_steps_left() -> None:
    schedule = Schedule(steps=1000, minutes=2)
    assert schedule.progress(100, 60) == 0.5
    assert schedule.progress(900, 60) == 0.9
    assert schedule.progress(0, 120) == 1
    assert schedule.share(200, 0) == 1 > schedule.share(200, 0.5) > schedule.share(200, 1) > 0


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


@pytest.mark.parametrize("name", ["ssd", "faster_rcnn", "mask_rcnn", "rcnn", "fast_rcnn", "fcn", "unet"])
def test_every_kind_of_loss_reaches_the_first_convolution(name: str, scenes: Collection) -> None:
    torch.manual_seed(0)
    network = REFERENCES[name].make().train()
    inputs, batch = small_batch(scenes)
    value = REFERENCES[name].loss(network, inputs, batch)
    value.backward()
    first = next(network.parameters()).grad
    assert torch.isfinite(value)
    assert first is not None
    assert 0 < first.abs().sum() < np.inf


@pytest.mark.parametrize("name", ["ssd", "mask_rcnn", "fast_rcnn"])
def test_a_batch_without_objects_has_a_finite_loss(name: str, scenes: Collection) -> None:
    torch.manual_seed(0)
    inputs, batch = small_batch(scenes)
    empty = replace(batch, truths=[truth_of(), truth_of()], owners=torch.zeros_like(batch.owners))
    assert torch.isfinite(REFERENCES[name].loss(REFERENCES[name].make().train(), inputs, empty))


def test_masks_are_learned_where_they_are_although_torchvision_samples_them_half_a_pixel_off() -> None:
    mask = torch.zeros(1, 40, 40)
    mask[0, 8:24, 8:24] = 1
    box = torch.tensor([[8.0, 8.0, 24.0, 24.0]])
    project = torchvision.models.detection.roi_heads.project_masks_on_boxes
    lopsided, target = (
        project(given, box, torch.zeros(1, dtype=torch.long), 28)[0]
        for given in (mask, losses._half_a_pixel_later(mask))
    )
    # The mask fills its box, so the target has to look the same from both ends.
    assert torch.allclose(target, target.flip(0).flip(1), atol=1e-5)
    assert not torch.allclose(lopsided, lopsided.flip(0).flip(1), atol=0.1)


def test_mirroring_moves_boxes_and_owners_with_the_pixels(scenes: Collection) -> None:
    pictures = torch.full((1, 3, *HW), 114.0)
    pictures[:, :, :240] = 0
    pictures[:, :, 30:50, 100:160] = 100
    owners = torch.zeros(1, *HW, dtype=torch.uint8)
    owners[:, 30:50, 100:160] = 1
    truth = truth_of((100, 30, 160, 50, 0))
    rng, seen = np.random.default_rng(0), set()
    for _ in range(20):
        turned = varied(Batch(pictures, [truth], owners, [truth.boxes_xyxy]), scenes.placement, rng)
        rows, columns = np.nonzero(turned.owners[0].numpy())
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert turned.truths[0].boxes_xyxy[0].tolist() == box
        assert turned.regions is not None
        assert turned.regions[0][0].tolist() == box
        part = turned.pictures[0, 0] == turned.pictures[0, 0, box[1], box[0]]
        assert torch.equal(part, turned.owners[0] == 1)
        # Below the picture lies the padding of the letterbox.
        assert (turned.pictures[0, :, 240:] > 50).all()
        seen.add(tuple(box))
    assert len(seen) == 4


def test_the_class_of_a_pixel_is_that_of_the_object_that_owns_it(scenes: Collection) -> None:
    batch, picture = scenes.batch([2]), render_scene(1, 2)
    wanted = np.zeros((480, 640), np.int64)
    for class_id, mask in zip(picture.class_ids, picture.masks, strict=True):
        wanted[mask.paste((480, 640))] = class_id + 1
    # Every pixel of the half as large input is one of the four that it covers.
    found = batch.class_maps[0, :240].numpy()
    near = np.stack([wanted[y::2, x::2] for y in (0, 1) for x in (0, 1)])
    assert (near == found).any(axis=0).all()
    assert (batch.class_maps[0, 240:] == 0).all()


def test_drawing_with_two_processes_gives_the_same_scenes_and_a_file_keeps_them(
    scenes: Collection, tmp_path: Path
) -> None:
    again = collected(draw_scenes(1, 3, [PREPROCESS], processes=2), 3, [PREPROCESS])
    save(again, tmp_path / "scenes.safetensors")
    kept = load(tmp_path / "scenes.safetensors", PREPROCESS)
    assert torch.equal(kept.tensors, scenes.tensors[:3])
    assert torch.equal(kept.owners, scenes.owners[:3])


def test_a_network_that_finds_everything_scores_one_for_boxes_and_masks(scenes: Collection) -> None:
    pytest.importorskip("pycocotools", reason="scoring needs the extra 'dev'")
    few, scored = scenes.first(3), iter(range(3))

    def find(network: Any, inputs: Any, regions: Any) -> Found:
        truth = few.batch([next(scored)]).truths[0]
        masks = torch.ones(len(truth.class_ids), 28, 28)
        return Found(truth.boxes_xyxy, torch.ones(len(truth.class_ids)), truth.class_ids, masks)

    scores = box_scores(torch.nn.Identity(), few, find)
    assert scores["AP"] == pytest.approx(1.0)
    # A full box is not the mask of a ring.
    assert 0 < scores["mask-AP50"] < 1


def test_training_can_start_from_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "fcn.safetensors"
    source = zoo.fcn()
    path.write_bytes(weights_bytes(source))
    network = started(zoo.deeplab, path)
    name = "backbone.trunk.stem.0.0.weight"
    assert torch.equal(network.state_dict()[name], source.state_dict()[name].half().float())


def test_the_exported_graph_computes_what_the_network_does(scenes: Collection) -> None:
    onnx = pytest.importorskip("onnx", reason="reading the graph needs the extra 'onnx'")
    import onnxruntime

    from edgewright.export.reference.release import onnx_bytes

    torch.manual_seed(0)
    detector = Detector(len(LABELS)).eval()
    graph = onnx_bytes(detector)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    picture = scenes.tensors[:1].float()
    (got,) = session.run(["output"], {"images": picture.numpy()})
    wanted = WithProbabilities(detector, HW)(picture).detach().numpy()
    assert np.allclose(got, wanted, atol=1e-3)
    model = onnx.load_from_string(graph)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [17]
    # No operator that engines for small devices lack or quantize badly; equal constants are shared by Identity.
    wanted_ops = {"Conv", "Relu", "Add", "Concat", "Resize", "Reshape", "Transpose", "Sigmoid", "Slice"}
    assert {node.op_type for node in model.graph.node} - {"Constant", "Identity"} == wanted_ops


@pytest.mark.parametrize(("given", "said"), [(["--steps", "0"], "--steps"), (["yol"], "did you mean 'yolo'")])
def test_the_script_names_a_wrong_option_and_exits_with_2(given: list[str], said: str, tmp_path: Path) -> None:
    call = [sys.executable, str(SCRIPT), *given, "-o", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_training_leaves_no_file(tmp_path: Path) -> None:
    call = [sys.executable, str(SCRIPT), "yolo", "--scenes", "4", "--scored", "1", "--threads", "1"]
    call += ["-o", str(tmp_path)]
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
