"""Import of a ready ONNX file: the family appends its decoding, the result is a bundle."""

from contextlib import suppress
from pathlib import Path
from types import ModuleType

from edgewright.export.bundling import Origin, read_image, write_bundle
from edgewright.export.complexity import complexity
from edgewright.export.families import Imported, load_family, refuse_unread_keys
from edgewright.export.graph_editor import GraphEditor, onnx_sha256, opset_of, read_onnx
from edgewright.export.model_spec import model_spec, requested_labels
from edgewright.export.request import ExportRequest
from edgewright.runtime import plugins
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import MissingDependencyError, UsageError


def import_onnx(request: ExportRequest, output: Path, *, replace: bool = False) -> Bundle:
    """The bundle in folder `output` of the ONNX file `request.source`, read as `request.family` says."""
    path = Path(request.source)
    if request.weights is not None:
        raise UsageError(f"{path.name} holds its weights; leave --weights out")
    model = read_onnx(path)
    family = _family(request)
    refuse_unread_keys(request, family)
    graph = GraphEditor(model, source=path.name)
    imported: Imported = family.import_onnx(graph, request)
    labels = requested_labels(request, imported.classes)
    spec = model_spec(request, imported, labels, inputs=graph.inputs, outputs=graph.outputs)
    origin = Origin(
        source=path.name,
        source_sha256=onnx_sha256(path),
        family=family.__name__.rsplit(".", 1)[-1],
        exporter="onnx import",
        opset=opset_of(model),
    )
    image = None if request.image is None else read_image(Path(request.image))
    return write_bundle(
        output,
        graph.model.SerializeToString(),
        spec,
        origin,
        complexity=complexity(graph.model),
        image=image,
        replace=replace,
    )


def _family(request: ExportRequest) -> ModuleType:
    """The family that the user names, which must be one that reads ONNX files."""
    if request.family is None:
        raise UsageError(
            f"an ONNX file does not say how it was trained; name its family with --family, one of: {_readers()}"
        )
    family = load_family(request.family)
    if not hasattr(family, "import_onnx"):
        raise UsageError(
            f"family '{request.family}' takes torch networks; an ONNX file's is one of: {_readers()} (generic is described by a recipe)"
        )
    return family


def _readers() -> str:
    """The families of ONNX files; torch's cannot all be asked where their libraries are missing."""
    names = []
    for name in plugins.names("edgewright.export.families"):
        with suppress(MissingDependencyError):
            if hasattr(load_family(name), "import_onnx"):
                names.append(name)
    return ", ".join(names)
