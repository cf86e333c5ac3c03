"""Import of a ready ONNX file: the family appends its decoding, the result is a bundle."""

from pathlib import Path

from edgewright.export.bundling import Origin, read_image, write_bundle
from edgewright.export.complexity import complexity
from edgewright.export.families import Imported, load_family, refuse_unread_keys
from edgewright.export.graph_editor import GraphEditor, onnx_sha256, opset_of, read_onnx
from edgewright.export.model_spec import model_spec, requested_labels
from edgewright.export.request import ExportRequest
from edgewright.runtime import plugins
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import UsageError


def import_onnx(request: ExportRequest, output: Path, *, replace: bool = False) -> Bundle:
    """The bundle in folder `output` of the ONNX file `request.source`, read as `request.family` says."""
    path = Path(request.source)
    family = load_family(_family_name(request))
    refuse_unread_keys(request, family)
    model = read_onnx(path)
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


def _family_name(request: ExportRequest) -> str:
    if request.family is None:
        known = ", ".join(plugins.names("edgewright.export.families"))
        raise UsageError(
            f"an ONNX file does not say how it was trained; name its family with --family, one of: {known}"
        )
    return request.family
