"""What a bundle says of normal operation: two small files in it, each with its digest in the manifest."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from edgewright.pipeline.live.reference import FORMAT, Reference
from edgewright.pipeline.report.schema import Report, load_report
from edgewright.runtime.atomic import atomic_folder
from edgewright.runtime.bundle import Bundle, describe_file, first_problem, load_bundle, seal
from edgewright.runtime.errors import BundleError

ACCURACY, SIGNALS = "reference/accuracy.json", "reference/signals.json"


def stored_report(bundle: Bundle) -> Report | None:
    """The accuracy that the bundle had on its reference, None when it has no such file."""
    return load_report(bundle.file(ACCURACY)) if _holds(bundle, ACCURACY) else None


def stored_reference(bundle: Bundle) -> Reference | None:
    """The signals of the bundle's reference, None when it has none; BundleError when they cannot be read."""
    if not _holds(bundle, SIGNALS):
        return None
    path = bundle.file(SIGNALS)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.get("format") if isinstance(content, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise BundleError(f"{path} has format {version}, this edgewright reads up to {FORMAT}; update edgewright")
        return Reference.model_validate(content)
    except ValidationError as err:
        raise BundleError(f"{path}: {first_problem(err)}; make the reference again") from err
    except (OSError, ValueError) as err:
        raise BundleError(f"{path} cannot be read ({err}); make the reference again") from err


def with_reference(bundle: Bundle, files: Mapping[str, Report | Reference], output: Path, *, replace: bool) -> Bundle:
    """The bundle in folder `output` that holds what `bundle` does, and these `files` by name instead of those it had.

    `output` may be the folder of `bundle` itself: it appears complete or not at all.
    """
    with atomic_folder(output, replace=replace) as folder:
        kept = [entry for entry in bundle.files if entry.name not in (ACCURACY, SIGNALS)]
        for entry in kept:
            (folder / entry.name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / entry.name, folder / entry.name)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content.model_dump_json(indent=2) + "\n", encoding="utf-8")
        added = [describe_file(folder, name, "report") for name in files]
        seal(folder, bundle.manifest.model_copy(update={"files": (*kept, *added), "digest": ""}))
    return load_bundle(output)


def _holds(bundle: Bundle, name: str) -> bool:
    return any(entry.name == name for entry in bundle.files)
