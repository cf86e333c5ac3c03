"""Export of a torch network: from torchvision by name, or from a factory of the user's."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType

import torch

from edgewright.export.bundling import MODEL, Origin, read_image, write_bundle
from edgewright.export.complexity import complexity
from edgewright.export.families import load_family, refuse_unread_keys
from edgewright.export.from_prompted import import_prompted
from edgewright.export.graph_editor import tensor_spec, without_outputs
from edgewright.export.model_spec import model_spec
from edgewright.export.parity import Decided, parity_images, prove_parity
from edgewright.export.pooling_decisions import following, with_decisions
from edgewright.export.request import ExportRequest
from edgewright.export.result_parity import Tensors
from edgewright.export.to_onnx import to_onnx
from edgewright.export.torch_source import TorchNetwork, Wrapped
from edgewright.export.torch_weights import state_digest
from edgewright.export.zoos import load_network
from edgewright.runtime import plugins
from edgewright.runtime.bundle import Bundle, PoolingDecisions
from edgewright.runtime.errors import MissingDependencyError, ParityError, UsageError

_INPUT = "images"


def import_torch(request: ExportRequest, output: Path, *, replace: bool = False) -> Bundle:
    """The bundle in folder `output` of the torch network that `request.source` names, with its parity proven.

    ParityError, and no bundle, when ONNX Runtime or OpenVINO does not do what torch does.
    """
    image = None if request.image is None else read_image(Path(request.image))
    network = load_network(request)
    family = _family(request, network)
    refuse_unread_keys(request, family)
    if hasattr(family, "build_graphs"):
        return import_prompted(request, network, family, output, replace=replace)
    wrapped: Wrapped = family.build(network, request)
    inputs = {_INPUT: torch.zeros(wrapped.imported.preprocess.tensor_shape), **wrapped.examples}
    module, decisions = with_decisions(wrapped.module, tuple(inputs.values()))
    converted = to_onnx(module, inputs, (*wrapped.outputs, *decisions))
    onnx_model = without_outputs(converted.model, decisions)
    graph = onnx_model.graph
    spec = model_spec(
        request,
        wrapped.imported,
        wrapped.labels,
        inputs=tuple(tensor_spec(value) for value in graph.input),
        outputs=tuple(tensor_spec(value) for value in graph.output),
    )
    model = onnx_model.SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        path.write_bytes(model)
        decided = None
        if decisions:
            decided = Decided(Path(folder) / "decisions.onnx", partial(_follow, wrapped, decisions))
            decided.model.write_bytes(converted.model.SerializeToString())
        images = parity_images(spec.preprocess.size_hw, image)
        try:
            parity = prove_parity(partial(run_torch, wrapped), path, spec, images=images, decided=decided)
        except ParityError as err:
            raise ParityError(f"{err}{_advice(request)}") from err
    origin = Origin(
        source=request.source,
        source_sha256=state_digest(network.module),
        family=family.__name__.rsplit(".", 1)[-1],
        exporter=converted.exporter,
        opset=converted.opset,
    )
    return write_bundle(
        output, model, spec, origin, complexity=complexity(onnx_model), image=image, parity=parity, replace=replace
    )


def _advice(request: ExportRequest) -> str:
    """What else may be the reason that a graph and its network differ."""
    if request.weights != "none" or "/" not in request.source:
        return ""
    return "; random weights score all boxes alike, so that rounding chooses among them: give trained weights with --weights"


def run_torch(wrapped: Wrapped, feeds: Tensors) -> Tensors:
    """The outputs by name of the wrapped network for the input tensors."""
    with torch.no_grad():
        result = wrapped.module(*(torch.from_numpy(feeds[name]) for name in (_INPUT, *wrapped.examples)))
    tensors = (result,) if isinstance(result, torch.Tensor) else result
    return {name: tensor.numpy() for name, tensor in zip(wrapped.outputs, tensors, strict=True)}


def _follow(
    wrapped: Wrapped, names: Sequence[str], feeds: Tensors, outputs: Tensors, where: str
) -> tuple[Tensors, Sequence[PoolingDecisions]]:
    """The outputs of the network that decides what the graph's outputs of these `names` say it decided."""
    masks = [torch.from_numpy(outputs[name]) for name in names]
    return following(wrapped.module, masks, partial(run_torch, wrapped, feeds), where=where)


def _family(request: ExportRequest, network: TorchNetwork) -> ModuleType:
    """The family that the user names, else the one that knows the network's class."""
    if request.family is not None:
        family = load_family(request.family)
        if not _takes_torch(family):
            raise UsageError(f"family '{request.family}' reads ONNX files; leave --family out, or one of: {_names()}")
        if not (family.accepts(network.module) or getattr(family, "TAKES_ANY_MODULE", False)):
            raise UsageError(
                f"{network.source} gives a {type(network.module).__name__}, which is no network of family '{request.family}'; "
                "leave --family out, or say --family plain_segmenter when it returns class logits [1, C, h, w]"
            )
        return family
    for family in _families():
        if family.accepts(network.module):
            return family
    raise UsageError(
        f"{network.source} gives a {type(network.module).__name__}, which no family knows (there are: {_names()}); "
        "say --family plain_segmenter when it returns class logits [1, C, h, w], or export it to ONNX and give that file with its --family"
    )


def _families() -> Iterator[ModuleType]:
    """The families of torch networks; one whose library is not installed cannot be that of a network that was loaded."""
    for name in plugins.names("edgewright.export.families"):
        with suppress(MissingDependencyError):
            family = load_family(name)
            if _takes_torch(family):
                yield family


def _takes_torch(family: ModuleType) -> bool:
    return hasattr(family, "build") or hasattr(family, "build_graphs")


def _names() -> str:
    return ", ".join(family.__name__.rsplit(".", 1)[-1] for family in _families())
