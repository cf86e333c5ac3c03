"""Export of a promptable network: several graphs in one bundle."""

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from edgewright.export.bundling import Origin, read_image, write_bundle
from edgewright.export.complexity import complexity
from edgewright.export.graph_editor import tensor_spec
from edgewright.export.model_spec import model_spec
from edgewright.export.parity import parity_images
from edgewright.export.prompt_parity import PROMPTS, prove_prompt_parity
from edgewright.export.request import ExportRequest
from edgewright.export.result_parity import Tensors
from edgewright.export.to_onnx import Converted, to_onnx
from edgewright.export.torch_source import TorchGraph, TorchNetwork, WrappedGraphs
from edgewright.export.torch_weights import state_digest
from edgewright.runtime.bundle import Bundle, Complexity
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.geometry import place
from edgewright.runtime.prompts import fill_slots, parse_prompts
from edgewright.runtime.spec import GraphSpec, ModelSpec

# The other one leaves sizes behind that are computed while the graph runs.
_EXPORTERS = ("dynamo",)


def import_prompted(
    request: ExportRequest, network: TorchNetwork, family: ModuleType, output: Path, *, replace: bool = False
) -> Bundle:
    """The bundle in folder `output` of a network whose `family` makes graphs of it, with their parity proven together.

    ParityError, and no bundle, when ONNX Runtime or OpenVINO does not do what torch does.
    """
    wrapped: WrappedGraphs = family.build_graphs(network, request)
    image = render_scene(0, 0).image if request.image is None else read_image(Path(request.image))
    converted = {
        graph.name: to_onnx(graph.module, graph.inputs, graph.outputs, exporters=_EXPORTERS) for graph in wrapped.graphs
    }
    spec = _spec(request, wrapped, converted)
    models = {name: one.model.SerializeToString() for name, one in converted.items()}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.onnx" for name in models}
        for name, path in paths.items():
            path.write_bytes(models[name])
        images = parity_images(spec.preprocess.size_hw, None if request.image is None else image)
        parity = prove_prompt_parity(_reference(wrapped), paths, spec, images=images)
    (_, first), *others = models.items()
    exported = next(iter(converted.values()))
    return write_bundle(
        output,
        first,
        spec,
        Origin(
            source=request.source,
            source_sha256=state_digest(network.module),
            family=family.__name__.rsplit(".", 1)[-1],
            exporter=exported.exporter,
            opset=exported.opset,
        ),
        complexity=_complexity(converted),
        image=image,
        parity=parity,
        replace=replace,
        graphs=dict(others),
        feeds=_golden_prompt(wrapped.graphs[1], spec, (image.shape[0], image.shape[1])),
    )


def _spec(request: ExportRequest, wrapped: WrappedGraphs, converted: dict[str, Converted]) -> ModelSpec:
    graphs = [
        GraphSpec(
            name=name,
            inputs=tuple(tensor_spec(value) for value in one.model.graph.input),
            outputs=tuple(tensor_spec(value) for value in one.model.graph.output),
        )
        for name, one in converted.items()
    ]
    return model_spec(
        request,
        wrapped.imported,
        wrapped.labels,
        inputs=graphs[0].inputs,
        outputs=graphs[0].outputs,
        graphs=tuple(graphs[1:]),
    )


def _reference(wrapped: WrappedGraphs) -> Any:
    """The network's own answers as NumPy arrays."""

    def encoded(images: Any) -> Any:
        answer = wrapped.reference(torch.from_numpy(images))

        def answered(points: Any, labels: Any) -> Tensors:
            found = answer(torch.from_numpy(points), torch.from_numpy(labels))
            return {name: tensor.numpy() for name, tensor in found.items()}

        return answered

    return encoded


def _golden_prompt(decoder: TorchGraph, spec: ModelSpec, size_hw: tuple[int, int]) -> Tensors:
    slots = decoder.inputs["points"].shape[1]
    prompt = parse_prompts(PROMPTS[2:3], size_hw)[0]
    points, labels = fill_slots(prompt, place(size_hw, spec.preprocess), slots)
    return {"input:points": points, "input:point_labels": labels}


def _complexity(converted: dict[str, Converted]) -> Complexity:
    """That of an image with one prompt."""
    parts = [complexity(one.model) for one in converted.values()]
    gflops = [part.gflops for part in parts if part.gflops is not None]
    return Complexity(
        parameters=sum(part.parameters for part in parts),
        gflops=sum(gflops) if len(gflops) == len(parts) else None,
    )
