"""`edgewright inspect`: what a bundle is, on one screen."""

from typing import TYPE_CHECKING

import click

from edgewright.pipeline.commands._options import json_option

if TYPE_CHECKING:
    from edgewright.runtime.bundle import BackendParity, Bundle, BundleFile
    from edgewright.runtime.spec import GraphSpec, ModelSpec


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@json_option
def command(bundle: str, json_path: str | None) -> None:
    """Show what BUNDLE holds: task, labels, pre-processing, head, files, origin."""
    from edgewright.pipeline.console import result_console, write_json
    from edgewright.runtime.bundle import load_bundle

    loaded = load_bundle(bundle)
    if json_path is not None:
        write_json(json_path, loaded.manifest.model_dump(mode="json", exclude_none=True))
    out = result_console()
    for name, value in _rows(loaded):
        out.print(f"{name:<16}{value}", highlight=False, markup=False, soft_wrap=True)


def _rows(bundle: "Bundle") -> list[tuple[str, str]]:
    spec, manifest = bundle.spec, bundle.manifest
    pre, origin = spec.preprocess, manifest.provenance
    size = manifest.complexity
    gflops = f"{size.gflops:.2f} GFLOPs" if size and size.gflops is not None else "GFLOPs unknown"
    return [
        ("name", f"{spec.name} ({spec.task}, head {spec.head.kind})"),
        ("labels", _shortened(spec.labels)),
        ("input", "; ".join(f"{t.name} {t.dtype} {list(t.shape)}" for t in spec.inputs)),
        ("outputs", "; ".join(f"{t.name} {t.dtype} {list(t.shape)}" for t in spec.outputs)),
        *(("graph", _graph_line(graph)) for graph in spec.graphs or ()),
        ("pre-processing", f"{_fit(spec)} (h x w), {pre.color.upper()}, {pre.layout.upper()}"),
        ("", f"(pixel * {pre.scale:.6g} - {_numbers(pre.mean)}) / {_numbers(pre.std)}"),
        *_detection_rows(spec),
        ("size", f"{size.parameters / 1e6:.2f} M parameters, {gflops}" if size else "unknown"),
        *(("file", _file_line(f)) for f in bundle.files),
        *(("parity", parity_line(parity)) for parity in (manifest.parity.backends if manifest.parity else ())),
        *(("batch", parity_line(parity)) for parity in (manifest.batch.backends if manifest.batch else ())),
        ("origin", f"{origin.source} by {origin.exporter}, family {origin.family}, opset {origin.opset}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in origin.versions.items())),
        ("digest", bundle.digest),
    ]  # fmt: skip


def _detection_rows(spec: "ModelSpec") -> list[tuple[str, str]]:
    """What says nothing of a network whose result is a map or follows prompts."""
    post = spec.postprocess
    regions = [("regions", f"{spec.proposals.count} by {spec.proposals.method}")] if spec.proposals else []
    if spec.task not in ("detect", "instance"):
        return regions
    return [
        *regions,
        ("boxes", spec.head.boxes),
        ("defaults", f"confidence {post.conf_threshold}, IoU {post.iou_threshold}, NMS {post.nms}, max {post.max_detections}"),
    ]  # fmt: skip


def parity_line(parity: "BackendParity") -> str:
    """How closely one engine follows the network's own framework, or the rows of a batch follow single images."""
    engine = " ".join(word for word in (parity.backend, parity.engine_version, parity.file) if word)
    if parity.problem is not None:
        return f"{engine}: not proven: {parity.problem}"
    name, error = max(parity.tensors.items(), key=lambda pair: pair[1], default=("-", 0.0))
    said = [f"largest error {error:.2g} ({name})"]
    if parity.detections:
        said.append(f"{parity.matched} of {parity.detections} detections")
    if parity.pixels is not None:
        said.append(f"{parity.pixels:.2%} of the pixels")
    if parity.decisions is not None:
        said.append(
            f"the reference followed {parity.decisions.windows} decisions of max-pooling, of which it makes "
            f"{parity.decisions.otherwise} otherwise (by {parity.decisions.shortfall:.2g})"
        )
    return f"{engine}: {', '.join(said)}"


def _fit(spec: "ModelSpec") -> str:
    size = f"{spec.preprocess.size_hw[0]}x{spec.preprocess.size_hw[1]}"
    if spec.tiling is None:
        return f"{spec.preprocess.resize} to {size}"
    overlap = max(spec.tiling.overlap_px, spec.tiling.margin_px)
    return f"{'blended ' if spec.tiling.blend else ''}tiles of {size} at full resolution, {overlap} px overlap"


def _graph_line(graph: "GraphSpec") -> str:
    inputs, outputs = (
        "; ".join(f"{t.name} {t.dtype} {list(t.shape)}" for t in some) for some in (graph.inputs, graph.outputs)
    )
    return f"{graph.name}: {inputs} → {outputs}"


def _file_line(file: "BundleFile") -> str:
    what = f"{file.role}, {file.precision} for {file.target}" if file.precision else file.role
    what = what if file.graph == "main" else f"{what}, graph {file.graph}"
    return f"{file.name} ({what}, {_bytes(file.size)})"


def _shortened(labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:6])
    return f"{len(labels)}: {shown}, …" if len(labels) > 6 else f"{len(labels)}: {shown}"


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:.6g}" if len(set(values)) == 1 else "[" + ", ".join(f"{value:.6g}" for value in values) + "]"


def _bytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 1024:.1f} KiB"
