"""The main job on what ships with the package: a conveyor detector goes from an ONNX file to a gated release and a film."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgewright import configs
from edgewright.pipeline.build import Built, build
from edgewright.pipeline.recipe import Recipe, load_recipe
from edgewright.pipeline.stages import Outcome
from edgewright.pipeline.verdict import Verdict
from edgewright.runtime.bundle import Bundle, load_bundle
from edgewright.runtime.errors import SinkError
from edgewright.runtime.loop import RunStatistics
from edgewright.runtime.predictor import Predictor, open_predictor

# A bright belt with about eight parts in view.
_FILM_SEED, _FILM_CONF = 6, 0.4
_MISTAKE = "mistake"

Tell = Callable[[Outcome], None]


@dataclass(frozen=True)
class Film:
    """What the live run made: an annotated video, a picture, one JSON object per frame, and its counts in one line."""

    video: Path
    picture: Path
    log: Path
    counts: str


def conveyor_recipe() -> Recipe:
    """The recipe of the detector that ships with the package."""
    return load_recipe(Path(configs.__file__).parent / "conveyor.yaml")


def chain(folder: Path, *, tell: Tell) -> Built:
    """The recipe's whole chain in `folder`, on the backends that are installed."""
    return build(conveyor_recipe(), folder, tell=tell)


def swapped_colours(folder: Path, *, tell: Tell) -> Verdict:
    """The gate's verdict on the same network fed with red and blue exchanged: the mistake it is there for."""
    recipe = conveyor_recipe()
    right = load_bundle(folder / "bundle").spec.preprocess.color
    wrong = recipe.model_copy(
        update={
            "name": "conveyor_swapped_colours",
            "color": "rgb" if right == "bgr" else "bgr",
            "backends": recipe.backends[:1],
            "benchmark_seconds": 0,
        }
    )
    return build(wrong, folder / _MISTAKE, tell=tell).verdicts[recipe.backends[0]]


def film(bundle: Bundle, folder: Path, *, backend: str, frames: int) -> Film:
    """Run `bundle` on a rendered film, as it would run on a camera; the picture shows what it finds on one scene."""
    from edgewright.pipeline.run import run, summary_line
    from edgewright.runtime.sources import open_source

    video, picture, log = folder / "film.mp4", folder / "picture.png", folder / "film.jsonl"
    statistics = RunStatistics()
    settings = bundle.spec.postprocess.model_copy(update={"conf_threshold": _FILM_CONF})
    with open_predictor(bundle, backend=backend, postprocess=settings) as predictor:
        with open_source(f"synthetic:{_FILM_SEED}:{frames}") as source:
            run(source, predictor, [f"video:{video}", f"jsonl:{log}"], statistics=statistics)
            counts = summary_line(source, statistics)
        _save_picture(predictor, picture)
    return Film(video, picture, log, counts)


def _save_picture(predictor: Predictor, path: Path) -> None:
    """What was found (left) beside what is there (right), on one frame of the film."""
    from edgewright.runtime.atomic import atomic_file
    from edgewright.runtime.conveyor import render
    from edgewright.runtime.draw import annotate
    from edgewright.runtime.results import Detections

    scene = render(_FILM_SEED, 0)
    truth = Detections(scene.boxes_xyxy, np.ones(len(scene.class_ids), np.float32), scene.class_ids)
    pictures = [annotate(scene.image, result, predictor.spec.labels) for result in (predictor(scene.image), truth)]
    with atomic_file(path) as temporary:
        if not cv2.imwrite(str(temporary), np.hstack(pictures)):
            raise SinkError(f"{path} cannot be written; check the free disk space")
