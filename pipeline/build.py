"""The whole chain of a recipe: export, quantize, verify, evaluate, benchmark, gate."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgewright.pipeline.console import write_json
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.report.schema import Report, load_report, merge
from edgewright.pipeline.stages import Outcome, run_stage
from edgewright.pipeline.verdict import Verdict
from edgewright.runtime.bundle import Bundle, file_sha256, load_bundle
from edgewright.runtime.errors import ParityError, UsageError

Tell = Callable[[Outcome], None]
_QUANTIZED = "quantized"
_BUNDLE, _REPORTS, _STAGES, _VERDICTS = "bundle", "reports", ".stages", "verdicts"


@dataclass(frozen=True)
class Built:
    """What a chain made: the bundle, one report per backend, and the gate's verdict (None without a policy)."""

    bundle: Bundle
    reports: dict[str, Report]
    verdicts: dict[str, Verdict]

    @property
    def passed(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts.values())


def build(recipe: Recipe, folder: Path, *, tell: Tell = lambda outcome: None) -> Built:
    """Run the recipe's chain in `folder`; stages whose inputs did not change are reused. `tell` hears each outcome.

    `folder` receives bundle/, quantized/ where the recipe asks for it, reports/<backend>.json and, with a policy,
    verdicts/<backend>.{json,md,xml}. Backends run one after the other; ParityError when a golden tensor differs.
    """
    _check(recipe, folder)
    _forget_results(folder)
    bundle = _quantize(recipe, _export(recipe, folder, tell), folder, tell)
    measured = {backend: _measure(recipe, bundle, folder, backend, tell) for backend in recipe.backends}
    reports = {backend: report for backend, report in measured.items() if report is not None}
    verdicts = {
        backend: _judge(recipe, folder, backend, report, tell) for backend, report in reports.items() if recipe.policy
    }
    return Built(bundle, reports, verdicts)


def _check(recipe: Recipe, folder: Path) -> None:
    """Complain before the first long stage, not after it."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder for the results")
    from edgewright.pipeline.policy import load_policy
    from edgewright.runtime import plugins

    for backend in recipe.backends:
        plugins.load("edgewright.runtime.backends", backend)
    if recipe.policy is not None:
        policy = load_policy(recipe.policy)
        if policy.is_relative and recipe.baseline is None:
            raise UsageError(
                f"policy '{recipe.policy}' compares with a baseline but the recipe names none; "
                "add `baseline: REPORT.json`, or take a policy of absolute limits"
            )
        if recipe.data is None and recipe.benchmark_seconds == 0:
            raise UsageError(
                "the recipe has a policy but measures nothing; add `data: ...`, or benchmark_seconds above 0"
            )
    elif recipe.baseline is not None:
        raise UsageError("the recipe names a baseline but no policy; add `policy: default`")
    if (recipe.quantize_for is None) != (recipe.calibration_data is None):
        raise UsageError(
            "quantize_for and calibration_data belong together: a target, and the images to calibrate on; give both"
        )
    for data in (recipe.data, recipe.calibration_data):
        if data is not None:
            from edgewright.pipeline.datasets import open_dataset

            open_dataset(data)


def _forget_results(folder: Path) -> None:
    """Remove the verdicts and merged reports of an earlier build, lest they be taken for this one's when it fails."""
    for path in [*(folder / _VERDICTS).glob("*.*"), *(folder / _REPORTS).glob("*.json")]:
        if path.suffix in (".json", ".md", ".xml") and not path.name.startswith(("evaluate-", "benchmark-")):
            path.unlink()


def _export(recipe: Recipe, folder: Path, tell: Tell) -> Bundle:
    from edgewright.export.request import ExportRequest
    from edgewright.pipeline.exporting import export

    request = ExportRequest.model_validate(recipe.model_dump(include=set(ExportRequest.model_fields)))
    if request.source.endswith(".onnx") and not Path(request.source).is_file():
        raise UsageError(f"the recipe's source {request.source} is no file; put it there, or name another")
    path = folder / _BUNDLE
    inputs: dict[str, Any] = {
        **request.model_dump(mode="json", exclude_none=True),
        "edgewright": metadata.version("edgewright"),
    }
    for key in ("source", "labels", "image", "weights"):
        value = getattr(request, key)
        if value is not None and Path(value).is_file():
            inputs[f"{key} content"] = _content_digest(Path(value))
    tell(run_stage(folder / _STAGES, "export", inputs, [path], lambda: _discard(export(request, path, replace=True))))
    return load_bundle(path)


def _quantize(recipe: Recipe, bundle: Bundle, folder: Path, tell: Tell) -> Bundle:
    """The bundle with the precisions that pay; the same one where the recipe does not ask for any."""
    if recipe.quantize_for is None:
        return bundle
    from edgewright.calibration.plan import read_plan
    from edgewright.pipeline.datasets import open_dataset
    from edgewright.pipeline.quantizing import quantize

    data, path = str(recipe.calibration_data), folder / _QUANTIZED
    evaluation = None if recipe.data is None else open_dataset(recipe.data)
    plan = None if recipe.quantization_plan is None else read_plan(Path(recipe.quantization_plan))

    def action() -> None:
        quantize(
            bundle,
            path,
            target=recipe.quantize_for or "openvino",
            data=data,
            evaluation=evaluation,
            max_drop=recipe.max_drop / 100,
            images=recipe.calibration_images,
            plans=None if plan is None else (plan,),
            threads=recipe.threads,
            work=folder / _STAGES / "quantization",
            replace=True,
        )

    inputs = {
        "bundle": bundle.digest,
        "for": recipe.quantize_for,
        "calibration": open_dataset(data).digest,
        "images": recipe.calibration_images,
        "data": None if evaluation is None else evaluation.digest,
        "max_drop": recipe.max_drop,
        "plan": None if plan is None else plan.digest,
        "edgewright": metadata.version("edgewright"),
    }
    tell(run_stage(folder / _STAGES, "quantize", inputs, [path], action))
    return load_bundle(path)


def _content_digest(path: Path) -> str:
    if path.suffix != ".onnx":
        return file_sha256(path)
    from edgewright.export.graph_editor import onnx_sha256, read_onnx

    read_onnx(path)
    return onnx_sha256(path)


def _measure(recipe: Recipe, bundle: Bundle, folder: Path, backend: str, tell: Tell) -> Report | None:
    engine: dict[str, Any] = {
        "bundle": bundle.digest,
        "backend": backend,
        "precision": recipe.precision,
        "threads": recipe.threads,
        "edgewright": metadata.version("edgewright"),
        "engine": _engine_version(backend),
    }
    _verify(recipe, bundle, folder, backend, engine, tell)
    parts = []
    if recipe.data is not None:
        parts.append(_evaluate(recipe, bundle, folder, backend, engine, tell))
    if recipe.benchmark_seconds > 0:
        parts.append(_benchmark(recipe, bundle, folder, backend, engine, tell))
    if not parts:
        return None
    report = merge([load_report(path) for path in parts])
    write_json(folder / _REPORTS / f"{backend}.json", report.model_dump(mode="json"))
    return report


def _verify(recipe: Recipe, bundle: Bundle, folder: Path, backend: str, engine: dict[str, Any], tell: Tell) -> None:
    from edgewright.pipeline.verify import verify

    def action() -> None:
        checks = verify(bundle, backend=backend, precision=recipe.precision, threads=recipe.threads)
        different = [check.tensor for check in checks if not check.passed]
        if different:
            raise ParityError(
                f"{bundle.path}: golden tensors differ on backend {backend}: {', '.join(different)}; "
                f"see `edgewright verify {bundle.path} --backend {backend}`"
            )

    tell(run_stage(folder / _STAGES, f"verify-{backend}", engine, [], action))


def _evaluate(recipe: Recipe, bundle: Bundle, folder: Path, backend: str, engine: dict[str, Any], tell: Tell) -> Path:
    from edgewright.pipeline.datasets import open_dataset
    from edgewright.pipeline.evaluate import evaluate, evaluation_settings

    path = folder / _REPORTS / f"evaluate-{backend}.json"
    per_image = path.with_name(f"{path.name}.npz")
    dataset = open_dataset(str(recipe.data))
    settings = evaluation_settings(
        bundle.spec.postprocess,
        task=bundle.spec.task,
        conf=recipe.eval_conf_threshold,
        max_detections=recipe.eval_max_detections,
    )

    def action() -> None:
        report = evaluate(
            bundle,
            dataset,
            backend=backend,
            precision=recipe.precision,
            threads=recipe.threads,
            postprocess=settings,
            per_image_path=per_image,
        )
        write_json(path, report.model_dump(mode="json"))

    inputs = {**engine, "data": dataset.digest, "settings": settings.model_dump(mode="json")}
    tell(run_stage(folder / _STAGES, f"evaluate-{backend}", inputs, [path, per_image], action))
    return path


def _benchmark(recipe: Recipe, bundle: Bundle, folder: Path, backend: str, engine: dict[str, Any], tell: Tell) -> Path:
    from edgewright.pipeline.benchmark import benchmark
    from edgewright.pipeline.device import describe_device

    path = folder / _REPORTS / f"benchmark-{backend}.json"

    def action() -> None:
        report = benchmark(
            bundle,
            backend=backend,
            precision=recipe.precision,
            threads=recipe.threads,
            seconds=recipe.benchmark_seconds,
        )
        write_json(path, report.model_dump(mode="json"))

    inputs = {**engine, "seconds": recipe.benchmark_seconds, "device": describe_device().identity}
    tell(run_stage(folder / _STAGES, f"benchmark-{backend}", inputs, [path], action))
    return path


def _judge(recipe: Recipe, folder: Path, backend: str, report: Report, tell: Tell) -> Verdict:
    from edgewright.pipeline.gate import gate
    from edgewright.pipeline.per_image import read_side
    from edgewright.pipeline.policy import load_policy
    from edgewright.pipeline.report.junit import verdict_junit
    from edgewright.pipeline.report.pages import verdict_markdown
    from edgewright.runtime.atomic import atomic_file

    baseline, theirs = read_side([recipe.baseline]) if recipe.baseline is not None else (None, None)
    _, ours = read_side([folder / _REPORTS / f"{backend}.json"])
    verdict = gate(report, baseline, load_policy(str(recipe.policy)), per_image=(ours, theirs))
    stem = folder / _VERDICTS / backend
    write_json(stem.with_suffix(".json"), verdict.model_dump(mode="json"))
    for suffix, content in ((".xml", verdict_junit(verdict)), (".md", verdict_markdown(verdict).encode())):
        with atomic_file(stem.with_suffix(suffix)) as temporary:
            temporary.write_bytes(content)
    tell(Outcome(f"gate-{backend}", True, "a verdict is always given anew"))
    return verdict


def _engine_version(backend: str) -> str:
    """The version of the module that runs, whatever the package is called that brought it (onnxruntime-gpu, ...)."""
    module = {"ort": "onnxruntime", "ov": "openvino"}.get(backend)
    return str(importlib.import_module(module).__version__) if module else "unknown"


def _discard(value: object) -> None:
    """For an action whose result is read back from disk."""
