"""`edgewright reference`: keep in a bundle what is normal in front of a camera."""

from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import (
    conf_option,
    engine_options,
    iou_option,
    json_option,
    nms_option,
    propose_option,
    tiles_option,
)
from edgewright.pipeline.commands._watch_options import window_option

if TYPE_CHECKING:
    from edgewright.pipeline.live.reference import Reference
    from edgewright.pipeline.report.schema import Report


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option(
    "--source",
    "source_uri",
    required=True,
    metavar="URI",
    help="What the device sees while all is well, as for `run`; data:DATA has labels, as in data:coco:IMAGES_DIR:LABELS.json.",
)
@click.option(
    "-o", "--output", required=True, metavar="BUNDLE2", help="Folder of the new bundle; BUNDLE itself with --force."
)
@engine_options
@propose_option
@nms_option
@tiles_option
@conf_option
@iou_option
@click.option("--max-frames", type=click.IntRange(min=1), default=None, help="Learn from so many frames.")
@window_option("How many frames a run will compare at a time.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@json_option
def command(
    bundle: str,
    source_uri: str,
    output: str,
    backend: str,
    precision: str,
    threads: int | None,
    propose: str | None,
    nms: str | None,
    tiles: str | None,
    conf: float | None,
    iou: float | None,
    max_frames: int | None,
    watch_window: int,
    force: bool,
    json_path: str | None,
) -> None:
    """Learn from a source on which all is well what BUNDLE will see, so that `run` tells when that changes.

    Kept are the distributions of brightness, sharpness, colours, detections, scores, sizes, places and classes, how far they
    wander by themselves, and of a labelled source the accuracy. Give it a day of the camera rather than a minute.
    """
    from pathlib import Path

    from edgewright.pipeline.console import counting, write_json
    from edgewright.pipeline.live.labelled import open_any_source
    from edgewright.pipeline.live.learning import learn_reference
    from edgewright.pipeline.live.stored import stored_reference, stored_report
    from edgewright.pipeline.postprocessing import suppressing, thresholds
    from edgewright.runtime.bundle import load_bundle
    from edgewright.runtime.predictor import open_predictor

    loaded = load_bundle(bundle)
    postprocess = suppressing(loaded.spec, thresholds(loaded.spec.postprocess, conf, iou), nms)
    with (
        open_any_source(source_uri, loaded.spec.task, newest=False) as source,
        open_predictor(
            loaded,
            backend=backend,
            precision=precision,
            threads=threads,
            postprocess=postprocess,
            propose=propose,
            tiles=tiles,
        ) as predictor,
        counting(total=max_frames or source.length, description=source.name) as on_frame,
    ):
        made = learn_reference(
            loaded,
            source,
            predictor,
            Path(output),
            window=watch_window,
            max_frames=max_frames,
            replace=force,
            on_frame=on_frame,
        )
    reference, report = stored_reference(made), stored_report(made)
    if json_path is not None:
        content = {
            "bundle": {"name": made.spec.name, "digest": made.digest},
            "reference": None if reference is None else reference.model_dump(mode="json"),
            "accuracy": None if report is None else report.model_dump(mode="json"),
        }
        write_json(json_path, content)
    click.echo(_text(output, reference, report))


def _text(output: str, reference: "Reference | None", report: "Report | None") -> str:
    lines = []
    if reference is not None:
        lines.append(f"{output} knows {reference.frames} frames of {reference.source}.")
        lines += _signals(reference)
    if report is not None:
        from edgewright.pipeline.report.numbers import shown

        values = ", ".join(
            f"{measured.name} {shown(measured.value, measured.unit)}" for measured in report.measurements
        )
        lines.append(f"Accuracy on them: {values}.")
    return "\n".join(lines)


def _signals(reference: "Reference") -> list[str]:
    from edgewright.pipeline.live.signals import OBJECTS, PICTURE

    units = {signal.name: signal.unit for signal in (*PICTURE, *OBJECTS)}
    width = max(len(name) for name in reference.signals)
    return [
        f"  {name:<{width}}  median {one.quantiles[50]:.3g}, mostly {one.quantiles[5]:.3g} to {one.quantiles[95]:.3g}; "
        f"wanders by {one.usual:.2g} {units[name]}"
        for name, one in reference.signals.items()
    ]
