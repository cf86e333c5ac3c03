"""One file per family: how a trained network's outputs become a head, and how its trainer fed it.

A family that takes ready ONNX files has `import_onnx(graph, request) -> Imported` and `EXPECTS`, a phrase that names the
outputs it wants. One that takes torch networks has `accepts(module) -> bool` and `build(network, request) -> Wrapped`, or
`build_graphs`; with `TAKES_ANY_MODULE` the user may name it for a module that it does not know. `KEYS` are the keys of
DESCRIPTION_KEYS and PART_KEYS that it reads.
"""

from dataclasses import dataclass
from types import ModuleType

from edgewright.export.request import DESCRIPTION_KEYS, PART_KEYS, ExportRequest
from edgewright.runtime import plugins
from edgewright.runtime.errors import UsageError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec, ProposalSpec, Task

# Names that users know a family by. YOLOv6 and v7 export the v5 layout, v9 to v12 the v8 layout.
ALIASES = {
    **dict.fromkeys(
        ("yolov5", "yolov6", "yolov7", "yolov8", "yolov9", "yolo11", "yolov11", "yolo12", "yolov12"), "ultralytics"
    ),
    "nanodet_plus": "nanodet",
    "onnx": "generic",
}


@dataclass(frozen=True)
class Imported:
    """What a family knows of a graph after its outputs follow the head; `classes` is None where the shapes do not tell."""

    task: Task
    head: HeadSpec
    preprocess: PreprocessSpec
    postprocess: PostprocessSpec
    classes: int | None
    proposals: ProposalSpec | None = None


def load_family(name: str) -> ModuleType:
    """The family's module, by its name or an alias such as yolov8; UsageError with the closest name for an unknown one."""
    normal = name.lower().replace("-", "_").removesuffix("_seg")
    module, known = ALIASES.get(normal, normal), plugins.names(__name__)
    if module not in known:
        hint = plugins.suggestion(normal, (*known, *ALIASES))
        raise UsageError(f"there is no family '{name}'{hint}; there are: {', '.join((*known, *ALIASES))}")
    return plugins.load(__name__, module)


def refuse_unread_keys(request: ExportRequest, family: ModuleType) -> None:
    """UsageError for what the user says of outputs that the family knows already, or of parts that its networks lack."""
    name, known = family.__name__.rsplit(".", 1)[-1], set(getattr(family, "KEYS", ()))
    unread = sorted(set(request.given(*DESCRIPTION_KEYS)) - known)
    if unread:
        raise UsageError(
            f"family {name} knows what its outputs mean and does not read {', '.join(unread)}; "
            "leave them out, or describe the outputs of an ONNX file with family: generic"
        )
    unread = sorted(set(request.given(*PART_KEYS)) - known)
    if unread:
        raise UsageError(f"networks of family {name} have no use for {', '.join(unread)}; leave it out")
