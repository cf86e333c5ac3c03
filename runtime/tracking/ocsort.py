"""OC-SORT: SORT that trusts what was seen more than what was expected, for objects that turn (Cao et al., arXiv:2203.14360)."""

from edgewright.runtime.tracking import Tracker, TrackOptions
from edgewright.runtime.tracking._library import LibraryTracker

wants_unsure = False


def begin(options: TrackOptions) -> Tracker:
    """A tracker for one film."""
    names = {"iou": "minimum_iou_threshold", "frames": "minimum_consecutive_frames"}
    return LibraryTracker("OCSORTTracker", options, names, high_conf_det_threshold=options.sure_score)
