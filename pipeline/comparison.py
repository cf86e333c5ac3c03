"""What `compare` says of two networks."""

from typing import Literal

from edgewright.runtime.spec import Strict

FORMAT = 1

StageName = Literal["pre-processing", "raw tensors", "decode", "suppression"]
# In the order in which they are passed through.
STAGES: tuple[StageName, ...] = ("pre-processing", "raw tensors", "decode", "suppression")


class Side(Strict):
    """One of the two, and what ran it; `precision` is what the engine executed."""

    name: str
    digest: str
    backend: str
    precision: str


class Spread(Strict):
    """A few numbers of many."""

    mean: float
    p95: float
    most: float


class Objects(Strict):
    """Objects of A and B over all frames. `score_drift` is |B - A| of the matched, `box_shift` and `mask_shift` are 1 - IoU of
    boxes (of segments in panoptic maps) and of masks; None where there is nothing of the kind."""

    a: int
    b: int
    matched: int
    lost: int
    new: int
    flipped: int
    score_drift: Spread | None = None
    box_shift: Spread | None = None
    mask_shift: Spread | None = None


class ClassObjects(Strict):
    """The objects of one class; a flipped one is counted under its class in A."""

    label: str
    a: int
    b: int
    matched: int
    lost: int
    new: int
    flipped: int


class Flip(Strict):
    """How many objects are called `a` by A and `b` by B."""

    a: str
    b: str
    count: int


class ClassPixels(Strict):
    """The pixels of one class in A and B, and the intersection over union of the two areas."""

    label: str
    a: int
    b: int
    overlap: float


class Pixels(Strict):
    """Class maps: the share of the pixels that have the same class in both, and every class that occurs."""

    agreement: float
    classes: tuple[ClassPixels, ...]


class FrameDifference(Strict):
    """One frame on which the two differ; `agreement` is that of the pixels, None without class maps."""

    index: int
    source: str
    lost: int = 0
    new: int = 0
    flipped: int = 0
    largest_drift: float = 0.0
    agreement: float | None = None


class Stage(Strict):
    """Whether the two agree after a stage, and how closely."""

    name: StageName
    agrees: bool
    measured: str


class FirstDifference(Strict):
    """Where the two begin to differ, on the frames that differ most.

    `stage` is None when nothing differs, or when two different networks can be compared by their results alone. `kind` is a word for
    programs ("color", "mean", "labels shifted", "iou_threshold", ...), `sentence` says it with the evidence, `advice` what to do.
    """

    stage: StageName | None
    kind: str
    sentence: str
    advice: str
    stages: tuple[Stage, ...] = ()


class Track(Strict):
    """A track over the frames `first` to `last` of a source: `frames` in which it was found, in `also` of which the other side
    found the object too; a track that the other side calls otherwise has its name for it as `other_label`."""

    label: str
    source: str
    track_id: int
    first: int
    last: int
    frames: int
    also: int
    other_label: str | None = None


class Tracks(Strict):
    """Objects followed from frame to frame, `a` and `b` in number: those of A that B misses in more than half of their frames
    (`lost`), those of B that A misses so (`new`), and those of A that B mostly calls otherwise (`flipped`), the longest first."""

    a: int
    b: int
    lost: tuple[Track, ...]
    new: tuple[Track, ...]
    flipped: tuple[Track, ...]


class Limit(Strict):
    """A limit of the caller and what it holds against."""

    name: str
    limit: float
    value: float

    @property
    def holds(self) -> bool:
        return self.value <= self.limit


class Comparison(Strict):
    """Two networks on the same unlabelled frames, A perhaps as a recorded run; `objects` of detectors and panoptic networks,
    `pixels` of class maps."""

    format: int = FORMAT
    passed: bool
    a: Side
    b: Side
    source: str
    frames: int
    objects: Objects | None
    classes: tuple[ClassObjects, ...]
    flips: tuple[Flip, ...]
    pixels: Pixels | None
    tracks: Tracks | None = None
    worst: tuple[FrameDifference, ...]
    first_difference: FirstDifference | None
    limits: tuple[Limit, ...]
    notes: tuple[str, ...]
    created: str
