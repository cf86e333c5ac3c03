"""Put together what a bundle says of its network: the family's knowledge, the user's wishes on top, and the labels."""

from pathlib import Path

from pydantic import ValidationError

from edgewright.export.families import Imported
from edgewright.export.labels import LabelSet, load_labels
from edgewright.export.request import POSTPROCESS_KEYS, PREPROCESS_KEYS, ExportRequest
from edgewright.export.tiles import with_tiling
from edgewright.runtime.bundle import first_problem
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import GraphSpec, ModelSpec, PostprocessSpec, PreprocessSpec, TensorSpec


def model_spec(
    request: ExportRequest,
    imported: Imported,
    labels: LabelSet,
    *,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    graphs: tuple[GraphSpec, ...] | None = None,
) -> ModelSpec:
    """The specification; UsageError when the wishes do not fit together, ExportError when the input has another shape."""
    try:
        preprocess = PreprocessSpec.model_validate(
            {**imported.preprocess.model_dump(), **request.given(*PREPROCESS_KEYS)}
        )
        postprocess = PostprocessSpec.model_validate(
            {**imported.postprocess.model_dump(), **request.given(*POSTPROCESS_KEYS)}
        )
    except ValidationError as err:
        raise UsageError(
            f"pre- or post-processing does not fit: {first_problem(err)}; see --scale, --mean and --std"
        ) from err
    wanted, got = preprocess.tensor_shape, inputs[0].shape
    if wanted != got:
        raise ExportError(
            f"{request.source}: input '{inputs[0].name}' is {list(got)}, the pre-processing gives {list(wanted)}"
        )
    spec = ModelSpec(
        name=request.name or Path(request.source.removesuffix(".onnx")).name,
        task=imported.task,
        labels=labels.labels,
        category_ids=labels.category_ids,
        inputs=inputs,
        outputs=outputs,
        preprocess=preprocess,
        head=imported.head.model_copy(update=request.given("ignore_id")),
        postprocess=postprocess,
        proposals=imported.proposals,
        graphs=graphs,
    )
    return with_tiling(request, spec)


def requested_labels(request: ExportRequest, classes: int | None) -> LabelSet:
    """The labels that the request names; UsageError when it names none, or not as many as the network has classes."""
    if request.labels is None:
        count = "" if classes is None else f" for its {classes} classes"
        raise UsageError(
            f"the network's labels are missing{count}; pass --labels coco80 or a text file with one label a line"
        )
    labels = load_labels(request.labels)
    if classes is not None and len(labels.labels) != classes:
        raise UsageError(
            f"--labels {request.labels} has {len(labels.labels)} labels, {Path(request.source).name} has {classes} classes; "
            "give the list the network was trained with"
        )
    return labels
