"""SAM 2 and EdgeTAM of transformers as two graphs of one bundle, against the networks' own code."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.tiny_prompted import bright_in_box_bundle

from edgewright.export.graph_editor import DATA_DEPENDENT
from edgewright.export.prompt_parity import PROMPTS, prove_prompt_parity
from edgewright.export.request import ExportRequest
from edgewright.pipeline.verify import verify
from edgewright.runtime.bundle import Bundle, load_bundle
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.errors import ParityError, UsageError
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.prompter import open_prompter
from edgewright.runtime.prompts import EMPTY, fill_slots, parse_prompts

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.export.tiny_prompted import SIDE, tiny_edgetam, tiny_sam2  # noqa: E402 - these need both

from edgewright.export.families.prompted import SLOTS, accepts, build_graphs  # noqa: E402
from edgewright.export.from_torch import import_torch  # noqa: E402
from edgewright.export.torch_source import TorchNetwork  # noqa: E402

NETWORKS = {"sam2": tiny_sam2, "edgetam": tiny_edgetam}


@pytest.fixture(scope="module", params=NETWORKS, name="network")
def network_fixture(request: pytest.FixtureRequest) -> Any:
    if request.param == "edgetam":
        pytest.importorskip("timm")
    return NETWORKS[request.param]()


@pytest.fixture(scope="module", name="bundle")
def bundle_fixture(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of the network as save_pretrained writes it."""
    folder = tmp_path_factory.mktemp("prompted")
    network.save_pretrained(folder / "network")
    request = ExportRequest(source=f"transformers/{folder / 'network'}", name="tiny")
    return import_torch(request, folder / "bundle")


def slots_of(text: str, size_hw: tuple[int, int]) -> tuple[Any, Any]:
    (prompt,) = parse_prompts([text], size_hw)
    placed = preprocess(np.zeros((*size_hw, 3), np.uint8), _preprocess(size_hw))[1]
    return fill_slots(prompt, placed, SLOTS)


def _preprocess(size_hw: tuple[int, int]) -> Any:
    from edgewright.runtime.spec import PreprocessSpec

    return PreprocessSpec(size_hw=size_hw, resize="stretch")


def worst(network: Any, side: int, text: str, garbage: float = 0.0) -> float:
    """The largest difference of the graphs to the network's own code, relative to max(1, |value|).

    The network's own code gets no empty slots; those of the graph hold `garbage`.
    """
    wrapped = build_graphs(TorchNetwork("tiny", network), ExportRequest(source="tiny", size=(side, side)))
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(3))
    points, labels = slots_of(text, (side, side))
    given = labels[0] != EMPTY
    points[:, ~given] = garbage
    encoder, decoder = (graph.module for graph in wrapped.graphs)
    with torch.no_grad():
        got = decoder(*encoder(image), torch.from_numpy(points), torch.from_numpy(labels))
    wanted = wrapped.reference(image)(torch.from_numpy(points[:, given]), torch.from_numpy(labels[:, given]))
    pairs = zip((wanted["masks"], wanted["quality"]), got, strict=True)
    return max(float(((a - b).abs() / a.abs().clamp(min=1)).max()) for a, b in pairs)


@pytest.mark.parametrize("text", PROMPTS)
@pytest.mark.parametrize("garbage", [0.0, 77.0])
def test_empty_slots_change_nothing(network: Any, text: str, garbage: float) -> None:
    assert accepts(network)
    assert worst(network, SIDE, text, garbage) < 1e-4


def test_other_prompts_give_other_masks(network: Any) -> None:
    wrapped = build_graphs(TorchNetwork("tiny", network), ExportRequest(source="tiny"))
    answer = wrapped.reference(torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)))
    masks = []
    for text in PROMPTS[:2]:
        points, labels = slots_of(text, (SIDE, SIDE))
        given = labels[0] != EMPTY
        masks.append(answer(torch.from_numpy(points[:, given]), torch.from_numpy(labels[:, given]))["masks"])
    assert ((masks[0] > 0) != (masks[1] > 0)).float().mean() > 0.01
    assert 0.05 < (masks[0] > 0).float().mean() < 0.95


def test_another_size_is_what_transformers_builds_for_it(network: Any) -> None:
    assert worst(copy.deepcopy(network), 96, PROMPTS[2]) < 1e-4


@pytest.mark.parametrize("size", [(128, 160), (100, 100)])
def test_a_size_that_the_network_cannot_take_is_refused(network: Any, size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="takes squares, whose side is a multiple of 32"):
        build_graphs(TorchNetwork("tiny", network), ExportRequest(source="tiny", size=size))


def test_pictures_are_fed_as_sam2s_own_processor_feeds_them_unless_the_folder_says_otherwise(network: Any) -> None:
    usual = build_graphs(TorchNetwork("tiny", network), ExportRequest(source="tiny")).imported.preprocess
    # transformers.Sam2ImageProcessor: stretched, RGB, 1/255, the mean and deviation of ImageNet.
    assert (usual.size_hw, usual.resize, usual.color, usual.interpolation) == ((SIDE, SIDE), "stretch", "rgb", "linear")
    assert (usual.mean, usual.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert usual.scale == pytest.approx(1 / 255)
    own = TorchNetwork("tiny", network, preprocessor={"image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    other = build_graphs(own, ExportRequest(source="tiny")).imported.preprocess
    assert (other.size_hw, other.mean, other.std) == ((SIDE, SIDE), (0.5,) * 3, (0.25,) * 3)


def test_the_bundle_holds_two_static_graphs_whose_parity_is_proven(bundle: Bundle) -> None:
    models = {file.graph: file.name for file in bundle.files if file.role == "model"}
    assert models == {"main": "image_encoder.onnx", "mask_decoder": "mask_decoder.onnx"}
    for name in models.values():
        graph = onnx.load(bundle.file(name)).graph
        assert not DATA_DEPENDENT & {node.op_type for node in graph.node}
        shapes = [value.type.tensor_type.shape for value in [*graph.input, *graph.output]]
        assert all(dim.dim_value > 0 for shape in shapes for dim in shape.dim)
    assert bundle.manifest.parity is not None
    for proven in bundle.manifest.parity.backends:
        assert set(proven.tensors) == {
            "image_embedding", "features_stride8", "features_stride4", "masks", "quality"
        }  # fmt: skip
        assert max(proven.tensors.values()) < 1e-3
        # An answer and three alternatives to four prompts on four pictures.
        assert (proven.detections, proven.matched) == (64, 64)
    assert bundle.spec.head.prompts is not None
    assert bundle.spec.head.prompts.least_stability == 0.98


def test_the_runtime_answers_as_the_network_does(bundle: Bundle, network: Any) -> None:
    image = render_scene(5, 1, (90, 150)).image
    tensor, _ = preprocess(image, bundle.spec.preprocess)
    wrapped = build_graphs(TorchNetwork("tiny", network), ExportRequest(source="tiny"))
    answer = wrapped.reference(torch.from_numpy(tensor))
    box = [30, 12, 120, 80]
    corners = torch.tensor([[[30 * SIDE / 150, 12 * SIDE / 90], [120 * SIDE / 150, 80 * SIDE / 90]]])
    wanted = answer(corners, torch.tensor([[2, 3]], dtype=torch.int32))
    # transformers.Sam2ImageProcessor.post_process_masks: enlarged to the image, above 0.
    enlarged = torch.nn.functional.interpolate(wanted["masks"], (90, 150), mode="bilinear", align_corners=False)[0]
    with open_prompter(bundle, threads=1) as prompter:
        prompter.set_image(image)
        found = prompter.segment(boxes_xyxy=box, multimask=True)
    assert np.allclose(found.scores, wanted["quality"][0, 1:].numpy(), atol=1e-4)
    for mask, truth in zip(found.masks or (), enlarged[1:].numpy() > 0, strict=True):
        pasted = mask.paste((90, 150))
        assert np.count_nonzero(pasted & truth) > 0.98 * np.count_nonzero(pasted | truth)


@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_verify_finds_every_golden_tensor_of_both_graphs(bundle: Bundle, backend: str) -> None:
    checks = verify(load_bundle(bundle.path), backend=backend, threads=1)
    assert [check.tensor for check in checks if not check.passed] == []
    assert {"output:image_embedding", "output:masks", "output:quality"} <= {check.tensor for check in checks}


def test_tensorrt_rtx_parses_and_builds_both_graphs(bundle: Bundle) -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    for file in bundle.files:
        if file.role != "model":
            continue
        log = rtx.Logger(rtx.Logger.ERROR)
        builder = rtx.Builder(log)
        network = builder.create_network(0)
        parser = rtx.OnnxParser(network, log)
        parsed = parser.parse_from_file(str(bundle.file(file.name)))
        assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
        config = builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(rtx.ComputeCapability.SM86, 0)
        assert builder.build_serialized_network(network, config) is not None


def test_a_graph_that_differs_fails_the_proof_by_name(tmp_path: Path) -> None:
    bundle = bright_in_box_bundle(tmp_path / "bundle")
    models = {name: bundle.file(f"{name}.onnx") for name in ("image_encoder", "mask_decoder")}
    images = {"scene": render_scene(0, 0, (96, 128)).image}

    def reference(tensor: Any) -> Any:
        def answer(points: Any, labels: Any) -> dict[str, Any]:
            with open_prompter(bundle, threads=1) as prompter:
                embedding = prompter.encoder.infer({"images": tensor})["image_embedding"].copy()
                padded, meanings = np.zeros((1, 4, 2), np.float32), np.full((1, 4), EMPTY, np.int32)
                padded[:, : points.shape[1]], meanings[:, : points.shape[1]] = points, labels
                feeds = {"image_embedding": embedding, "points": padded, "point_labels": meanings}
                return {"image_embedding": embedding, **prompter.decoder.infer(feeds)}

        return answer

    def other(tensor: Any) -> Any:
        answer = reference(tensor)
        return lambda points, labels: {**(got := answer(points, labels)), "quality": got["quality"] + 0.01}

    prompts = ("box:10%,10%,60%,60%", "box:20%,20%,90%,90%+point:50%,50%")
    parity = prove_prompt_parity(reference, models, bundle.spec, images=images, prompts=prompts, backends=("ort",))
    assert (parity.backends[0].detections, parity.backends[0].matched) == (8, 8)
    with pytest.raises(ParityError, match="output 'quality' differs on the image 'scene' with the prompt box:10%"):
        prove_prompt_parity(other, models, bundle.spec, images=images, prompts=prompts, backends=("ort",))
