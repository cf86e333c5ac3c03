"""A bundle in lower precision: calibrated, searched, measured, and promoted only where it pays."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from edgewright.calibration.artefacts import NewFile, half_model, strong_model, weak_float_model, with_files
from edgewright.calibration.isa import sums_exactly
from edgewright.calibration.network import Network, prepared
from edgewright.calibration.observe import largest_magnitudes, observe
from edgewright.calibration.plan import Plan, sites_of
from edgewright.calibration.reference_session import VERSION
from edgewright.calibration.samples import USUAL, Audit, CalibrationSet, choose
from edgewright.calibration.search import LEAST_GAIN, Found, Log, Score, Trial, kept_because, search
from edgewright.calibration.sensitivity import LayerDamage
from edgewright.pipeline.calibration_images import candidates, digests, feeds_of
from edgewright.pipeline.color_order import ColorOrder, check_color_order, color_order
from edgewright.pipeline.datasets import Dataset
from edgewright.pipeline.quantization_bench import Bench, Scorer
from edgewright.runtime.atomic import check_writable_target
from edgewright.runtime.backends import BackendOptions, open_backend
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import CalibrationError, UsageError
from edgewright.runtime.spec import BATCH, Strict

Target = Literal["openvino", "tensorrt", "onnxruntime"]
_BACKENDS = {"openvino": "ov", "tensorrt": "ort", "onnxruntime": "ort"}
_HALF_FEEDS = 16


class PrecisionResult(Strict):
    """What became of a precision: its score, how much slower or faster it is than fp32 (None where it cannot run here), its
    size on disk, and whether it is in the bundle."""

    precision: Literal["fp32", "fp16", "int8"]
    score: float | None
    drop: float | None
    interval: tuple[float, float] | None = None
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    size_mib: float
    promoted: bool
    reason: str
    executed: str | None = None
    fell_back: tuple[str, ...] = ()


class QuantizationReport(Strict):
    """Everything that a quantization measured. `metric` is what was scored, "agreement" without labels."""

    format: int = 1
    target: Target
    metric: str
    budget: float
    data: str
    evaluation: str | None
    plan: Plan | None
    reason: str
    precisions: tuple[PrecisionResult, ...]
    trials: tuple[Trial, ...]
    layers: tuple[LayerDamage, ...] = ()
    kept: dict[str, str]
    audit: Audit
    colors: ColorOrder | None = None


@dataclass(frozen=True)
class Quantized:
    """The new bundle and the report on it."""

    bundle: Bundle
    report: QuantizationReport

    @property
    def promoted(self) -> bool:
        return any(entry.promoted for entry in self.report.precisions if entry.precision == "int8")


def quantize(
    bundle: Bundle,
    output: Path,
    *,
    target: Target,
    data: str,
    evaluation: Dataset | None = None,
    max_drop: float = 0.01,
    images: int = USUAL,
    fewest: int | None = None,
    allow_overlap: bool = False,
    allow_color_order: bool = False,
    plans: Sequence[Plan] | None = None,
    rank: bool = False,
    score: Scorer | None = None,
    threads: int | None = None,
    seed: int = 0,
    work: Path | None = None,
    replace: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Quantized:
    """The bundle in folder `output` that holds `bundle` and the precisions that pay on `target`.

    The loss of the metric on `evaluation` is at most `max_drop` (a fraction: 0.005 is half a point of AP); without it, the
    change of the outputs on calibration images stands for the loss. `score` replaces the metric: a function of a bundle and a
    precision, higher is better. `plans` are tried as they are instead of the usual ones; `rank` measures every layer's share
    of the loss even when no plan asks for it. `work` keeps what an interrupted run has done; None: beside the output.
    """
    check_writable_target(output, replace=replace)
    if bundle.spec.inputs[0].shape[0] == BATCH:
        raise UsageError(
            f"{bundle.path} has an open batch; quantize the bundle before it was opened, and open the result"
        )
    if any(file.precision == "int8" for file in bundle.files):
        raise UsageError(f"{bundle.path} holds an int8 model already; quantize the bundle that was exported")
    folder = work or output.parent / f".{output.name}.work"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = _calibration_set(bundle, data, evaluation, images, fewest, allow_overlap, seed)
    tell("compare the images with red and blue exchanged")
    colors = color_order(bundle, chosen.images, backend=_BACKENDS[target], threads=threads)
    if not allow_color_order:
        check_color_order(colors, bundle)
    feeds = feeds_of(bundle, chosen.images, seed=seed)
    network = prepared(onnx.load(str(bundle.file(_float_model(bundle)))))
    widest = sites_of(Plan(keep_heads=False), network)
    if not widest.layers:
        raise CalibrationError(f"{bundle.spec.name} has no layer that int8 could compute; keep it in fp32")
    tell(f"calibrate on {len(chosen.images)} images")
    seen = observe(
        network.model,
        widest.tensors,
        feeds,
        cache=folder / "observation.npz",
        key={"model": _model_digest(bundle), "images": chosen.audit.digest, "method": "histogram"},
        tell=lambda done, total: tell(f"calibrate: {done} of {total}") if done % 20 == 0 or done == total else None,
    )
    bench = Bench(
        bundle, network, seen, feeds, folder,
        target=target, backend=_BACKENDS[target], evaluation=evaluation, scorer=score, budget=max_drop, threads=threads,
    )  # fmt: skip
    log = Log(folder / "search.json", _identity(bundle, chosen, evaluation, target))
    found = search(
        bench, plans or default_plans(network, target), budget=max_drop, log=log, widen=plans is None, tell=tell
    )
    if rank and not bench.layers:
        tell("rank the layers")
        bench.ranking()
    result = _release(bundle, output, bench, found, chosen, colors, target, data, replace=replace, tell=tell)
    shutil.rmtree(folder, ignore_errors=True)
    return result


def default_plans(network: Network, target: Target) -> tuple[Plan, ...]:
    """The plans that are worth a try on a target: TensorRT decides itself where depthwise convolutions run.

    Where time can be measured, the last layers before the outputs are tried in int8 too: in a small network they are much of the
    time, and the score tells whether they bear it.
    """
    bits: Literal[7, 8] = 8 if target != "openvino" or sums_exactly() else 7
    collectors = [Plan(collector=name, weight_bits=bits) for name in ("percentile", "mse", "minmax")]
    if target != "openvino":
        return tuple(collectors)
    depthwise = any(
        layer.kind == "Conv" and _is_depthwise(network, layer.node) for layer in sites_of(Plan(), network).layers
    )
    mixed = [Plan(collector="percentile", weight_bits=bits, depthwise=False)] if depthwise else []
    heads = Plan(collector="minmax", weight_bits=bits, keep_heads=False)
    return (*collectors, heads, *mixed, Plan(method="nncf"), Plan(method="nncf", keep_heads=False))


def _is_depthwise(network: Network, name: str) -> bool:
    node = next(node for node in network.nodes if node.name == name)
    return any(entry.name == "group" and entry.i > 1 for entry in node.attribute)


def _float_model(bundle: Bundle) -> str:
    entry = bundle.model_file(backend="ort", precision="fp32")
    return entry.name


def _model_digest(bundle: Bundle) -> str:
    return bundle.model_file(backend="ort", precision="fp32").sha256


def _calibration_set(
    bundle: Bundle,
    data: str,
    evaluation: Dataset | None,
    images: int,
    fewest: int | None,
    allow_overlap: bool,
    seed: int,
) -> CalibrationSet:
    options = {} if fewest is None else {"fewest": fewest}
    return choose(
        candidates(data),
        source=data,
        count=images,
        seed=seed,
        labels=bundle.spec.labels,
        evaluation=digests(evaluation) if evaluation is not None else (),
        allow_overlap=allow_overlap,
        **options,
    )


def _identity(bundle: Bundle, chosen: CalibrationSet, evaluation: Dataset | None, target: str) -> str:
    parts = [bundle.digest, chosen.audit.digest, evaluation.digest if evaluation is not None else "-", target]
    return " ".join([*parts, VERSION])


def _release(
    bundle: Bundle,
    output: Path,
    bench: Bench,
    found: Found,
    chosen: CalibrationSet,
    colors: ColorOrder | None,
    target: Target,
    data: str,
    *,
    replace: bool,
    tell: Callable[[str], None],
) -> Quantized:
    """Measure every precision, and write the bundle with those that pay."""
    tell("measure fp16")
    largest = largest_magnitudes(bench.network.model, bench.feeds[:_HALF_FEEDS])
    half = _half_files(bench, largest, target)
    results = [_float_result(bench), _half_result(bench, half, target), _int8_result(bench, found)]
    files = [*half] if results[1].promoted else []
    files += _weak_float_files(bench, target)
    plan = found.chosen.plan if found.chosen is not None and results[2].promoted else None
    if plan is not None:
        files += [*bench.files(plan), *_tensorrt_files(bench, plan, largest, target)]
    audit = chosen.audit.model_copy(update={"curve": bench.observation.curve, "enough": bench.observation.enough()})
    report = QuantizationReport(
        target=target,
        metric=bench.metric,
        budget=bench.budget,
        data=data,
        evaluation=bench.evaluation.uri if bench.evaluation is not None else None,
        plan=plan,
        reason=results[2].reason,
        precisions=tuple(results),
        trials=found.trials,
        layers=bench.layers,
        kept=sites_of(plan or Plan(), bench.network).kept,
        audit=audit,
        colors=colors,
    )
    path = bench.folder / "report.json"
    path.write_text(json.dumps(report.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    files.append(NewFile(path, "calibration/report.json", "calibration"))
    if plan is not None:
        plan_path = bench.folder / "plan.json"
        plan_path.write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
        files.append(NewFile(plan_path, "calibration/plan.json", "calibration"))
    written = with_files(bundle, files, output, calibration_sha256=audit.digest, replace=replace)
    return Quantized(written, report)


def _half_files(bench: Bench, largest: dict[str, float], target: Target) -> tuple[NewFile, ...]:
    path = bench.folder / "models" / "fp16.onnx"
    path.parent.mkdir(exist_ok=True)
    onnx.save(half_model(bench.network, largest, strong=target == "tensorrt"), str(path))
    if target == "tensorrt":
        strong = NewFile(path, "tensorrt/fp16.onnx", "model", precision="fp16", target="trt", dialect="strong")
        return strong, NewFile(path, "onnxruntime/fp16.onnx", "model", precision="fp16", target="ort")
    place = "openvino" if target == "openvino" else "onnxruntime"
    return (NewFile(path, f"{place}/fp16.onnx", "model", precision="fp16", target=bench.backend),)


def _weak_float_files(bench: Bench, target: Target) -> tuple[NewFile, ...]:
    """What TensorRT up to 10.11 makes fp16 of: the exported graph may be of an operator set that it does not read."""
    if target != "tensorrt":
        return ()
    path = bench.folder / "models" / "fp32_weak.onnx"
    onnx.save(weak_float_model(bench.network), str(path))
    return (NewFile(path, "tensorrt/fp32_weak.onnx", "model", precision="fp32", target="trt", dialect="weak"),)


def _tensorrt_files(bench: Bench, plan: Plan, largest: dict[str, float], target: Target) -> tuple[NewFile, ...]:
    """Both dialects of the plan."""
    if target != "tensorrt":
        return ()
    path = bench.folder / "models" / f"{plan.digest}-strong.onnx"
    onnx.save(strong_model(plan, bench.network, bench.observation, largest), str(path))
    return (
        NewFile(bench.model(plan), "tensorrt/int8_weak.onnx", "model", precision="int8", target="trt", dialect="weak"),
        NewFile(path, "tensorrt/int8_strong.onnx", "model", precision="int8", target="trt", dialect="strong"),
    )


def _float_result(bench: Bench) -> PrecisionResult:
    return PrecisionResult(
        precision="fp32",
        score=bench.float_score,
        drop=0.0,
        ratio=1.0,
        size_mib=_mib([bench.float_model]),
        promoted=True,
        reason="the reference",
    )


def _half_result(bench: Bench, files: Sequence[NewFile], target: Target) -> PrecisionResult:
    """Half precision is promoted for TensorRT where it is accurate, elsewhere only where it is faster."""
    runnable = [file for file in files if file.target == bench.backend]
    score = bench.scored(runnable, "fp16", key="fp16")
    timing = None if target == "tensorrt" else bench.timed(runnable[0].path, "fp16")
    reason = _refusal(score, timing, bench.budget)
    return PrecisionResult(
        precision="fp16",
        score=score.value,
        drop=score.drop,
        interval=score.interval,
        ratio=timing[0] if timing else None,
        ratio_interval=timing[1] if timing else None,
        size_mib=_mib([runnable[0].path]),
        promoted=reason is None,
        reason=reason or "accurate" + ("" if timing is None else " and faster"),
    )


def _refusal(score: Score, timing: tuple[float, tuple[float, float]] | None, budget: float) -> str | None:
    """Why a precision is not promoted, None when it is."""
    if score.drop > budget or score.outcome == "fail":
        return f"loses {100 * score.drop:.2f} points, {100 * budget:.2f} are allowed"
    if timing is not None and (timing[0] > 1 - LEAST_GAIN or timing[1][1] >= 1):
        return f"takes {timing[0]:.2f} of the time of fp32 ({timing[1][0]:.2f} to {timing[1][1]:.2f}), so it is not worth it"
    return None


def _int8_result(bench: Bench, found: Found) -> PrecisionResult:
    """The chosen plan, timed once more: a search that compares many finds one that was lucky."""
    trial = found.chosen
    if trial is None or trial.score is None:
        return _refused_int8(found)
    timing = bench.ratio(trial.plan)
    refusal = _refusal(trial.score, timing, bench.budget)
    executed, fell_back = _executed(bench, trial.plan)
    return PrecisionResult(
        precision="int8",
        score=trial.score.value,
        drop=trial.score.drop,
        interval=trial.score.interval,
        ratio=timing[0] if timing else None,
        ratio_interval=timing[1] if timing else None,
        size_mib=_mib([file.path for file in bench.files(trial.plan)]),
        promoted=refusal is None,
        reason=refusal or kept_because(trial.plan, trial.score, timing[0] if timing else None, bench.budget),
        executed=executed,
        fell_back=fell_back,
    )


def _refused_int8(found: Found) -> PrecisionResult:
    """No plan was chosen: the smallest loss that was seen stands in the report."""
    scores = [trial.score for trial in found.trials if trial.score is not None]
    best = min(scores, key=lambda score: score.drop, default=None)
    return PrecisionResult(
        precision="int8",
        score=best.value if best else None,
        drop=best.drop if best else None,
        size_mib=0.0,
        promoted=False,
        reason=found.reason,
    )


def _executed(bench: Bench, plan: Plan) -> tuple[str | None, tuple[str, ...]]:
    """What the engine says that it runs in, and the layers of the plan that run in float all the same."""
    options = BackendOptions(precision="int8", threads=bench.threads)
    with open_backend(bench.backend, bench.model(plan), options) as engine:
        executed = str(engine.settings.get("executed_precision"))
        read = getattr(engine, "layer_precisions", None)
        if read is None:
            return executed, ()
        precisions = read()
    wanted = [layer.node for layer in sites_of(plan, bench.network).layers]
    return executed, tuple(name for name in wanted if precisions.get(name, "i8") not in ("i8", "u8"))


def _mib(paths: Sequence[Path]) -> float:
    return sum(path.stat().st_size for path in paths) / 2**20
