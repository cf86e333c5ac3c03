"""Takes out what only the steps were to see."""

from edgewright.runtime.results import Detections, Frame, Result
from edgewright.runtime.steps import Step


class Threshold(Step):
    """Objects from `conf_threshold` on; maps of pixels have no scores and stay as they are."""

    # It ends what the network's own last step would have done.
    stage = "finish"

    def __init__(self, conf_threshold: float) -> None:
        self._conf_threshold = conf_threshold

    def __call__(self, frame: Frame, result: Result) -> tuple[Frame, Result]:
        if isinstance(result, Detections):
            return frame, result[result.scores >= self._conf_threshold]
        return frame, result
