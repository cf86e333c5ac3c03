"""SORT: a Kalman filter for every object, and the overlap with where it expects it (Bewley et al., arXiv:1602.00763)."""

from edgewright.runtime.tracking import Tracker, TrackOptions
from edgewright.runtime.tracking._library import LibraryTracker

wants_unsure = False


def begin(options: TrackOptions) -> Tracker:
    """A tracker for one film."""
    names = {"iou": "minimum_iou_threshold", "frames": "minimum_consecutive_frames"}
    return LibraryTracker("SORTTracker", options, names, track_activation_threshold=options.sure_score)
