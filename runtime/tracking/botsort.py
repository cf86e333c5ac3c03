"""BoT-SORT: ByteTrack that makes up for the motion of the camera, which it finds in the picture (Aharon et al., arXiv:2206.14651)."""

from edgewright.runtime.tracking import Tracker, TrackOptions
from edgewright.runtime.tracking._library import LibraryTracker

wants_unsure = True


def begin(options: TrackOptions) -> Tracker:
    """A tracker for one film."""
    names = {"iou": "minimum_iou_threshold_first_assoc", "frames": "minimum_consecutive_frames"}
    return LibraryTracker(
        "BoTSORTTracker",
        options,
        names,
        wants_image=True,
        track_activation_threshold=options.sure_score,
        high_conf_det_threshold=options.sure_score,
    )
