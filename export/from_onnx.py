"""Import of a ready ONNX file: the family appends its decoding, the result is a bundle."""

from pathlib import Path

from edgewright.export.bundling import Origin, read_image, write_bundle
from edgewright.export.complexity import complexity
from edgewright.export.families import Imported, load_family
from edgewright.export.graph_editor import GraphEditor, opset_of, read_onnx
from edgewright.export.labels import LabelSet, load_labels
from edgewright.export.request import POSTPROCESS_KEYS, PREPROCESS_KEYS, ExportRequest
from edgewright.runtime import plugins
from edgewright.runtime.bundle import Bundle, file_sha256
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import ModelSpec, PostprocessSpec, PreprocessSpec


def import_onnx(request: ExportRequest, output: Path, *, replace: bool = False) -> Bundle:
    """The bundle in folder `output` of the ONNX file `request.source`, read as `request.family` says."""
    path = Path(request.source)
    model = read_onnx(path)
    size = complexity(model)
    graph = GraphEditor(model, source=path.name)
    family = load_family(_family_name(request))
    imported: Imported = family.import_onnx(graph, request)
    spec = _model_spec(request, graph, imported)
    origin = Origin(
        source=path.name,
        source_sha256=file_sha256(path),
        family=family.__name__.rsplit(".", 1)[-1],
        exporter="onnx import",
        opset=opset_of(model),
    )
    image = None if request.image is None else read_image(Path(request.image))
    return write_bundle(
        output, graph.model.SerializeToString(), spec, origin, complexity=size, image=image, replace=replace
    )


def _family_name(request: ExportRequest) -> str:
    if request.family is None:
        known = ", ".join(plugins.names("edgewright.export.families"))
        raise UsageError(
            f"an ONNX file does not say how it was trained; name its family with --family, one of: {known}"
        )
    return request.family


def _model_spec(request: ExportRequest, graph: GraphEditor, imported: Imported) -> ModelSpec:
    labels = _labels(request, imported)
    try:
        preprocess = PreprocessSpec.model_validate(
            {**imported.preprocess.model_dump(), **request.given(*PREPROCESS_KEYS)}
        )
        postprocess = PostprocessSpec.model_validate(
            {**imported.postprocess.model_dump(), **request.given(*POSTPROCESS_KEYS)}
        )
    except ValueError as err:
        raise UsageError(f"pre- or post-processing does not fit: {err}") from err
    wanted, got = preprocess.tensor_shape, graph.inputs[0].shape
    if wanted != got:
        raise ExportError(
            f"{graph.source}: input '{graph.inputs[0].name}' is {list(got)}, the pre-processing gives {list(wanted)}"
        )
    return ModelSpec(
        name=request.name or Path(request.source).stem,
        task=imported.task,
        labels=labels.labels,
        category_ids=labels.category_ids,
        inputs=graph.inputs,
        outputs=graph.outputs,
        preprocess=preprocess,
        head=imported.head,
        postprocess=postprocess,
    )


def _labels(request: ExportRequest, imported: Imported) -> LabelSet:
    if request.labels is None:
        count = "" if imported.classes is None else f" for its {imported.classes} classes"
        raise UsageError(
            f"the network's labels are missing{count}; pass --labels coco80 or a text file with one label a line"
        )
    labels = load_labels(request.labels)
    if imported.classes is not None and len(labels.labels) != imported.classes:
        raise UsageError(
            f"--labels {request.labels} has {len(labels.labels)} labels, {Path(request.source).name} has {imported.classes} classes; "
            "give the list the network was trained with"
        )
    return labels
