"""A comparison of two networks as lines and tables."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgewright.pipeline.comparison import Comparison, FrameDifference, Objects, Side, Tracks

if TYPE_CHECKING:
    from rich.table import Table

Cells = tuple[str, ...]
_MOST_TRACKS = 5


def comparison_blocks(comparison: Comparison, *, most_classes: int) -> Iterator["str | Table"]:
    """What a terminal shows, in order."""
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        yield f"{letter}: {side_words(side)}"
    yield f"{comparison.frames} frames of {comparison.source}"
    yield _table(("", ""), sums(comparison), numbers=1)
    rows = class_rows(comparison)
    if rows:
        yield _table(class_titles(comparison), rows[:most_classes], numbers=len(rows[0]) - 1)
        if len(rows) > most_classes:
            yield f"... and {len(rows) - most_classes} more classes (--json FILE lists all)"
    for flip in comparison.flips[:5]:
        yield f"{flip.count} x '{flip.a}' in A is '{flip.b}' in B"
    if comparison.tracks is not None:
        yield from track_lines(comparison.tracks)
    for frame in comparison.worst:
        yield f"frame {frame.index} of {frame.source}: {frame_words(comparison, frame)}"
    for limit in comparison.limits:
        yield f"{'holds' if limit.holds else 'EXCEEDED'}: {limit.name} {limit.value:.4g}, at most {limit.limit:g} may be"
    if comparison.first_difference is not None:
        yield comparison.first_difference.sentence
        if comparison.first_difference.kind != "none":
            yield f"what to do: {comparison.first_difference.advice}"
    for note in comparison.notes:
        yield f"note: {note}"


def track_lines(tracks: Tracks) -> Iterator[str]:
    """How many tracks there are, and the longest of those that only one side has, or that both call otherwise."""
    yield (
        f"tracks: {tracks.a} in A, {tracks.b} in B; {len(tracks.lost)} lost, {len(tracks.new)} new, "
        f"{len(tracks.flipped)} flipped"
    )
    for what, other, some in (("lost", "B", tracks.lost), ("new", "A", tracks.new), ("flipped", "B", tracks.flipped)):
        for track in some[:_MOST_TRACKS]:
            called = f", mostly as '{track.other_label}'" if track.other_label else ""
            yield (
                f"{what}: {track.label} #{track.track_id}, frames {track.first} to {track.last} of {track.source}; "
                f"{other} has it in {track.also} of {track.frames}{called}"
            )


def side_words(side: Side) -> str:
    """One side on one line."""
    return f"{side.name} ({side.digest[:12]}) in {side.precision} on {side.backend}"


def sums(comparison: Comparison) -> list[Cells]:
    """What was counted over all frames, as rows of a name and a value."""
    rows: list[Cells] = [] if comparison.objects is None else _object_sums(comparison.objects)
    if comparison.pixels is not None:
        rows.append(("pixels of the same class", f"{comparison.pixels.agreement:.3%}"))
    return rows


def class_titles(comparison: Comparison) -> Cells:
    """The titles of `class_rows`."""
    if comparison.objects is not None:
        return ("class", "A", "B", "matched", "lost", "new", "flipped")
    return ("class", "pixels of A", "pixels of B", "overlap (IoU)")


def class_rows(comparison: Comparison) -> list[Cells]:
    """The classes that differ, the most different first; all pixels' classes of a class map."""
    if comparison.objects is not None:
        return [
            (c.label, *(f"{n:,}" for n in (c.a, c.b, c.matched, c.lost, c.new, c.flipped)))
            for c in comparison.classes
            if c.lost or c.new or c.flipped
        ]
    pixels = sorted(comparison.pixels.classes if comparison.pixels else (), key=lambda c: c.overlap)
    return [(c.label, f"{c.a:,}", f"{c.b:,}", f"{c.overlap:.4f}") for c in pixels]


def frame_words(comparison: Comparison, frame: FrameDifference) -> str:
    """How the two differ on one of the worst frames."""
    words = []
    if comparison.objects is not None:
        words.append(
            f"{frame.lost} lost, {frame.new} new, {frame.flipped} flipped, scores move by up to {frame.largest_drift:.2g}"
        )
    if frame.agreement is not None:
        words.append(f"{frame.agreement:.3%} of the pixels agree")
    return "; ".join(words)


def _object_sums(objects: Objects) -> list[Cells]:
    rows: list[Cells] = [
        ("objects in A", f"{objects.a:,}"),
        ("objects in B", f"{objects.b:,}"),
        ("matched", f"{objects.matched:,}{_share(objects.matched, objects.a, 'A')}"),
        ("lost (in A only)", f"{objects.lost:,}{_share(objects.lost, objects.a, 'A')}"),
        ("new (in B only)", f"{objects.new:,}{_share(objects.new, objects.b, 'B')}"),
        ("flipped (another class)", f"{objects.flipped:,}{_share(objects.flipped, objects.a, 'A')}"),
    ]
    for title, spread in (
        ("score drift |B - A|", objects.score_drift),
        ("box shift 1 - IoU", objects.box_shift),
        ("mask shift 1 - IoU", objects.mask_shift),
    ):
        if spread is not None:
            rows.append((title, f"mean {spread.mean:.2g}, p95 {spread.p95:.2g}, most {spread.most:.2g}"))
    return rows


def _share(part: int, whole: int, of: str) -> str:
    return f" ({part / whole:.1%} of {of})" if whole else ""


def _table(titles: Cells, rows: Sequence[Cells], *, numbers: int) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=any(titles))
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place >= len(titles) - numbers and any(titles) else "left")
    for row in rows:
        table.add_row(*row)
    return table
