"""ByteTrack: sure objects first, then unsure ones for the tracks that are left (Zhang et al., arXiv:2110.06864)."""

from edgewright.runtime.tracking import Tracker, TrackOptions
from edgewright.runtime.tracking._library import LibraryTracker

wants_unsure = True


def begin(options: TrackOptions) -> Tracker:
    """A tracker for one film."""
    names = {"iou": "minimum_iou_threshold", "frames": "minimum_consecutive_frames"}
    return LibraryTracker(
        "ByteTrackTracker",
        options,
        names,
        track_activation_threshold=options.sure_score,
        high_conf_det_threshold=options.sure_score,
    )
