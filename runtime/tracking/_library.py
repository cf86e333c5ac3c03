"""Trackers of Roboflow's package `trackers`, imported here alone."""

import platform
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from edgewright.runtime.errors import MissingDependencyError
from edgewright.runtime.plugins import missing_dependency
from edgewright.runtime.results import Detections, Image
from edgewright.runtime.tracking import TrackIds, TrackOptions

# Its buffers are counted in frames at this rate, whatever that of the film is.
_LIBRARY_FPS = 30.0
# Farther than any two objects in a picture, and little enough for float32 to tell hundredths of a pixel.
_APART_PX = 20_000.0


class LibraryTracker:
    """One tracker of the package; `names` says what it calls the options `iou`, `sure_score` and so on."""

    def __init__(
        self, kind: str, options: TrackOptions, names: Mapping[str, str], *, wants_image: bool = False, **fixed: Any
    ) -> None:
        library, supervision = _import("trackers"), _import("supervision")
        given = {name: value for key, name in names.items() if (value := getattr(options, key)) is not None}
        buffer = round(_LIBRARY_FPS * options.lost_s)
        self._tracker = getattr(library, kind)(lost_track_buffer=buffer, frame_rate=options.fps, **given, **fixed)
        self._boxes = supervision.Detections
        self._apart = options.classes_apart
        self._wants_image = wants_image

    def update(self, found: Detections, image: Image, time_s: float) -> TrackIds:
        """The number of each object, -1 where it has none."""
        ids = np.full(len(found), -1, np.int64)
        boxes = found.boxes_xyxy.astype(np.float64)
        if self._apart:
            boxes += _APART_PX * found.class_ids[:, None]
        places = np.flatnonzero(np.isfinite(boxes).all(axis=1))
        given = self._boxes(
            xyxy=boxes[places],
            confidence=found.scores[places].astype(np.float64),
            class_id=found.class_ids[places],
            data={"place": places},
        )
        tracked = self._tracker.update(given, frame=image if self._wants_image else None, timestamp=time_s)
        # It may give objects in another order, and an empty answer lacks what was passed along.
        if len(tracked):
            ids[tracked.data["place"]] = tracked.tracker_id
        return ids


def check_installed() -> None:
    """MissingDependencyError, with what to install, when the package is not there."""
    _import("trackers")


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as err:
        missing = missing_dependency(err, needed_by="--track")
        if platform.machine() != "aarch64":
            raise missing from err
        # The extra would put another OpenCV in front of the board's own, and wants a NumPy that it was not built for.
        raise MissingDependencyError(
            f"--track needs the package '{err.name}', which is not installed; beside the OpenCV of a board run: pip install "
            "--no-deps trackers supervision pydeprecate defusedxml, then: pip install scipy 'numpy<2' requests tqdm pillow"
        ) from err
