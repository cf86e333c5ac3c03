"""A comparison of two networks as a self-contained page, with the frames that differ most side by side."""

from typing import Any

from edgewright.pipeline.compare import Compared
from edgewright.pipeline.comparison_totals import WorstFrame
from edgewright.pipeline.report.comparison_text import (
    class_rows,
    class_titles,
    frame_words,
    side_words,
    sums,
    track_lines,
)
from edgewright.pipeline.report.page import picture_uri
from edgewright.pipeline.report.rendering import render
from edgewright.runtime.draw import annotate


def comparison_html(compared: Compared) -> str:
    """The page."""
    comparison = compared.comparison
    return render(
        "comparison.html.j2",
        a=side_words(comparison.a),
        b=side_words(comparison.b),
        frames=f"{comparison.frames} frames of {comparison.source}",
        difference=comparison.first_difference,
        sums=sums(comparison),
        limits=comparison.limits,
        tracks=[] if comparison.tracks is None else list(track_lines(comparison.tracks)),
        titles=class_titles(comparison),
        rows=class_rows(comparison),
        worst=[_frame(frame, compared) for frame in compared.worst if frame.differs],
        notes=comparison.notes,
    )


def _frame(frame: WorstFrame, compared: Compared) -> dict[str, Any]:
    results = zip("AB", (frame.a, frame.b), compared.labels, strict=True)
    return {
        "index": frame.difference.index,
        "source": frame.difference.source,
        "words": frame_words(compared.comparison, frame.difference),
        "pictures": [(name, picture_uri(annotate(frame.image, found, labels))) for name, found, labels in results],
    }
