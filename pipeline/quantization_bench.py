"""Quantization plans built, timed and scored on this machine: what the search asks about."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgewright.calibration.artefacts import NewFile, openvino_model, weak_model, with_files
from edgewright.calibration.damage import damage
from edgewright.calibration.network import Network
from edgewright.calibration.nncf_ptq import quantize_by_nncf
from edgewright.calibration.observe import Feeds, Observation
from edgewright.calibration.plan import Plan, ranges, sites_of
from edgewright.calibration.search import Score
from edgewright.calibration.sensitivity import LayerDamage, rank_layers
from edgewright.calibration.speed import inference_ms, ratio
from edgewright.pipeline.datasets import Dataset
from edgewright.pipeline.evaluate import evaluate
from edgewright.pipeline.per_image import PerImage, load_per_image
from edgewright.pipeline.report.schema import Report
from edgewright.pipeline.statistics import judge, paired_bootstrap
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.backends import BackendOptions, open_backend
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError

# A metric of the user's own: a bundle and the precision to score it in, higher is better.
Scorer = Callable[[Bundle, str], float]
# What a task is judged by; a network with masks by the worse of its two.
METRICS = {"detect": ("AP",), "instance": ("AP", "mask-AP"), "semantic": ("mIoU",), "panoptic": ("PQ",)}
_COMPARED_FEEDS = 8
_RANKED_FEEDS = 4
_ROUNDS, _MOST_ROUNDS, _OPENINGS = 45, 360, 3
_RESAMPLES = 500
_NNCF_FEEDS = 300
_CONFIDENCE = 0.95


class Bench:
    """The plans of one bundle on one target; everything built or scored is kept in `folder`."""

    def __init__(
        self,
        bundle: Bundle,
        network: Network,
        observation: Observation,
        feeds: Sequence[Callable[[], Feeds]],
        folder: Path,
        *,
        target: str,
        backend: str,
        evaluation: Dataset | None,
        scorer: Scorer | None,
        budget: float,
        threads: int | None = None,
    ) -> None:
        self.bundle, self.network, self.observation, self.feeds, self.folder = (
            bundle,
            network,
            observation,
            feeds,
            folder,
        )
        self.target, self.backend, self.evaluation, self.scorer = target, backend, evaluation, scorer
        self.budget, self.threads = budget, threads
        self.layers: tuple[LayerDamage, ...] = ()

    def model(self, plan: Plan) -> Path:
        """The file of the plan that the target's engine, or the reference of TensorRT, loads."""
        folder = self.folder / "models"
        folder.mkdir(exist_ok=True)
        if plan.method == "nncf" and self.target == "openvino":
            path = folder / f"{plan.digest}.xml"
            if not path.exists():
                quantize_by_nncf(plan, self.network, self.feeds[:_NNCF_FEEDS], path, folder=folder)
            return path
        path = folder / f"{plan.digest}.onnx"
        if not path.exists():
            write = openvino_model if self.target == "openvino" else weak_model
            with atomic_file(path) as temporary:
                onnx.save(write(plan, self.network, self.observation), str(temporary))
        return path

    def files(self, plan: Plan) -> tuple[NewFile, ...]:
        """The plan's files for a bundle, as the backend of this machine runs it."""
        path, place = self.model(plan), "openvino" if self.target == "openvino" else "onnxruntime"
        model = NewFile(path, f"{place}/int8{path.suffix}", "model", precision="int8", target=self.backend)
        if path.suffix != ".xml":
            return (model,)
        weights = NewFile(
            path.with_suffix(".bin"), f"{place}/int8.bin", "weights", precision="int8", target=self.backend
        )
        return model, weights

    def damage(self, plan: Plan) -> float:
        return float(np.mean(self._damages(self.model(plan), "int8")))

    def ratio(self, plan: Plan) -> tuple[float, tuple[float, float]] | None:
        return None if self.target == "tensorrt" else self.timed(self.model(plan), "int8")

    def timed(self, model: Path, precision: str) -> tuple[float, tuple[float, float]]:
        """Its time over that of the float model, with their order mixed; measured for longer where the interval holds 1.

        Both are opened several times: where an engine puts its memory moves a small network by a tenth.
        """
        models, rounds = {"float": (self.float_model, "fp32"), "other": (model, precision)}, _ROUNDS
        measure = partial(inference_ms, models, self._inputs[:4], backend=self.backend, threads=self.threads)
        while True:
            openings = [measure(rounds=rounds // _OPENINGS, seed=seed) for seed in range(_OPENINGS)]
            other, floating = (np.concatenate([times[name] for times in openings]) for name in ("other", "float"))
            found, (low, high) = ratio(other, floating, confidence=_CONFIDENCE)
            if not low < 1 <= high or rounds >= _MOST_ROUNDS:
                return found, (low, high)
            rounds *= 2

    def score(self, plan: Plan) -> Score:
        return self.scored(self.files(plan), "int8", key=plan.digest)

    def scored(self, files: Sequence[NewFile], precision: str, *, key: str) -> Score:
        """The score of these files in the place of the float model, with its drop."""
        if self.scorer is None and self.evaluation is None:
            value = 1.0 - float(np.mean(self._damages(files[0].path, precision)))
            return Score(value=value, drop=1.0 - value)
        candidate = with_files(self.bundle, files, self.folder / "candidate", replace=True)
        if self.scorer is not None:
            value = self.scorer(candidate, precision)
            return Score(value=value, drop=self._own_baseline - value)
        return self._judged(self._evaluated(candidate, precision, key))

    @cached_property
    def float_score(self) -> float:
        """The score of the float model."""
        if self.scorer is not None:
            return self._own_baseline
        if self.evaluation is None:
            return 1.0
        report = self._baseline[0]
        return min(_values(report)[name] for name in self.metrics)

    @property
    def metrics(self) -> tuple[str, ...]:
        return METRICS[self.bundle.spec.task]

    @property
    def metric(self) -> str:
        """What the score is, in a word."""
        if self.scorer is not None:
            return "your score"
        return " and ".join(self.metrics) if self.evaluation is not None else "agreement"

    def ranking(self) -> Sequence[str]:
        widest = Plan()
        known_file = self.folder / "layers.json"
        known: dict[str, float] = json.loads(known_file.read_text()) if known_file.is_file() else {}

        def keep(layer: LayerDamage, done: int, total: int) -> None:
            known[layer.layer] = layer.damage
            with atomic_file(known_file) as temporary:
                temporary.write_text(json.dumps(known))

        self.layers = rank_layers(
            self.network,
            sites_of(widest, self.network),
            ranges(widest, self.observation),
            self.feeds[:_RANKED_FEEDS],
            self.bundle.spec,
            known=dict(known),
            tell=keep,
        )
        return [layer.layer for layer in self.layers]

    @property
    def float_model(self) -> Path:
        return self.bundle.file(self.bundle.model_file(backend=self.backend, precision="fp32").name)

    @cached_property
    def _inputs(self) -> list[Feeds]:
        return [feed() for feed in self.feeds[:_COMPARED_FEEDS]]

    @cached_property
    def _float_outputs(self) -> list[dict[str, npt.NDArray[Any]]]:
        return self._outputs(self.float_model, "fp32")

    def _outputs(self, model: Path, precision: str) -> list[dict[str, npt.NDArray[Any]]]:
        options = BackendOptions(precision=precision, threads=self.threads)
        with closing(open_backend(self.backend, model, options)) as engine:
            return [{name: value.copy() for name, value in engine.infer(one).items()} for one in self._inputs]

    def _damages(self, model: Path, precision: str) -> list[float]:
        pairs = zip(self._float_outputs, self._outputs(model, precision), strict=True)
        return [damage(wanted, got, self.bundle.spec) for wanted, got in pairs]

    @cached_property
    def _own_baseline(self) -> float:
        if self.scorer is None:
            raise DataError("there is no score of your own to compare with")
        return self.scorer(self.bundle, "fp32")

    @cached_property
    def _baseline(self) -> tuple[Report, PerImage]:
        return self._evaluated(self.bundle, "fp32", "float")

    def _evaluated(self, bundle: Bundle, precision: str, key: str) -> tuple[Report, PerImage]:
        if self.evaluation is None:
            raise DataError("there are no labelled images to score on")
        path = self.folder / f"score-{key}.npz"
        report = evaluate(
            bundle,
            self.evaluation,
            backend=self.backend,
            precision=precision,
            threads=self.threads,
            per_image_path=path,
        )
        results = load_per_image(path, report.per_image) if report.per_image is not None else None
        if results is None:
            raise DataError(f"{path} does not hold the results of the images; run the quantization again")
        return report, results

    def _judged(self, candidate: tuple[Report, PerImage]) -> Score:
        """The worse of the task's metrics, with the interval of its drop."""
        (report, ours), (baseline, theirs) = candidate, self._baseline
        values, wanted = _values(report), _values(baseline)
        name = max(self.metrics, key=lambda metric: wanted[metric] - values[metric])
        samples = paired_bootstrap(ours.scores([name]), theirs.scores([name]), resamples=_RESAMPLES)
        difference = samples.difference(name, _CONFIDENCE)
        low, high = difference.interval
        return Score(
            value=values[name],
            drop=wanted[name] - values[name],
            interval=(-high, -low) if np.isfinite([low, high]).all() else None,
            outcome=judge(difference, self.budget).outcome,
        )


def _values(report: Report) -> dict[str, float]:
    return {measurement.name: measurement.value for measurement in report.measurements}
