"""From what the user names to the importer that can read it."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.export.zoos import ZOOS, names_torch_network
from edgewright.runtime import plugins
from edgewright.runtime.atomic import check_writable_target
from edgewright.runtime.errors import UsageError

if TYPE_CHECKING:
    from edgewright.export.request import ExportRequest
    from edgewright.runtime.bundle import Bundle


def export(request: "ExportRequest", output: Path, *, replace: bool = False) -> "Bundle":
    """The bundle in folder `output` of the network that the request names; UsageError for a source nobody can read."""
    check_writable_target(output, replace=replace)
    if request.uint8_input:
        return _fed_with_frames(request, output, replace=replace)
    try:
        if request.source.endswith(".onnx"):
            from edgewright.export.from_onnx import import_onnx

            return import_onnx(request, output, replace=replace)
        if names_torch_network(request.source):
            from edgewright.export.from_torch import import_torch

            return import_torch(request, output, replace=replace)
    except ModuleNotFoundError as err:
        raise plugins.missing_dependency(err, needed_by="export") from err
    raise UsageError(
        f"'{request.source}' is no source that export knows{_closest(request.source)}; give an ONNX file (.onnx), a recipe (.yaml), "
        "torchvision/NAME, transformers/ID, smp/ARCHITECTURE:ENCODER or PACKAGE.MODULE:FACTORY"
    )


def _fed_with_frames(request: "ExportRequest", output: Path, *, replace: bool) -> "Bundle":
    """The bundle as it would be, then with its pre-processing in the graph."""
    with tempfile.TemporaryDirectory() as temporary:
        plain = export(request.model_copy(update={"uint8_input": None}), Path(temporary) / "bundle")
        from edgewright.export.frame_input import with_frame_input

        return with_frame_input(plain, output, replace=replace)


def _closest(source: str) -> str:
    zoo, slash, _ = source.partition("/")
    return plugins.suggestion(zoo, tuple(ZOOS)) if slash and zoo not in ZOOS else ""
