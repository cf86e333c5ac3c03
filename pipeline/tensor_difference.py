"""How the raw outputs of two networks differ: shifted or dead classes, a missing activation, other boxes, coarse numbers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgewright.runtime.spec import ModelSpec

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Pairs = Mapping[str, Sequence[tuple[Array, Array]]]

# Rows that say something: the ones with the highest scores, in each picture.
_TOP_ROWS = 300
# A class that A never holds more likely than this has nothing to lose.
_SEEN = 0.05
# Shares of the difference that a hypothesis may leave unexplained, and a class may keep to be called dead.
_UNEXPLAINED = 0.05
_DEAD = 0.2


class Named(NamedTuple):
    """A difference: a word for programs, a sentence with the evidence, and what to do."""

    kind: str
    sentence: str
    advice: str


def error_of(a: Array, b: Array) -> float:
    """The largest |B - A| / max(1, |A|); infinite where either is not a number."""
    ours, theirs = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.where(ours == theirs, 0.0, np.abs(ours - theirs) / np.maximum(1.0, np.abs(ours)))
    return float(np.nan_to_num(error, nan=np.inf).max(initial=0.0))


def name_tensor_difference(pairs: Pairs, spec_a: ModelSpec, spec_b: ModelSpec, tolerance: float) -> Named:
    """The first output that differs beyond the tolerance, and how: `pairs` are A's and B's arrays of every picture by role."""
    errors = {role: max(error_of(a, b) for a, b in arrays) for role, arrays in pairs.items()}
    differing = [role for role, error in errors.items() if not error <= tolerance]
    if not differing:
        return Named("small", "no output differs beyond rounding", "nothing is to be done about the tensors")
    others = (
        f", as does '{differing[1]}'"
        if len(differing) == 2
        else f", as do {len(differing) - 1} others"
        if differing[2:]
        else ""
    )
    agreeing = [role for role in pairs if role not in differing]
    for role in differing:
        for named in _hypotheses(role, pairs, spec_a):
            return named._replace(
                sentence=f"output '{spec_b.head.outputs[role]}' ({role}): {named.sentence}{others if role == differing[0] else ''}"
            )
    role = differing[0]
    return Named(
        "values",
        f"output '{spec_b.head.outputs[role]}' ({role}) differs by up to {errors[role]:.3g} of max(1, |value|) and correlates by "
        f"{_correlation(pairs[role]):.4f}{others}{f', while {_listed(agreeing)} agree' if agreeing else ''}; {_grid(pairs[role])}",
        "look at the weights and the precision of the layers behind this output: other weights, rounding or quantization",
    )


def _hypotheses(role: str, pairs: Pairs, spec: ModelSpec) -> Iterator[Named]:
    """What explains the difference, the most particular first."""
    if any(not np.isfinite(b.astype(np.float64)).all() for _, b in pairs[role]):
        yield Named("not finite", "B gives NaN or infinity", "the precision overflows: try --precision-b fp32")
        return
    if role == "boxes":
        yield from _box_hypotheses(pairs[role], pairs.get("scores"))
        return
    classes = _class_rows(role, pairs[role], len(spec.labels))
    if classes is not None:
        yield from _class_hypotheses(*classes, spec.labels)


def _class_rows(role: str, arrays: Sequence[tuple[Array, Array]], classes: int) -> tuple[Floats, Floats] | None:
    """A's and B's rows (R, C) over the classes, those with the highest values of either; None where there are no such rows."""
    parts = []
    for a, b in arrays:
        axis = next((n for n in (a.ndim - 1, 1) if a.ndim > 1 and a.shape[n] == classes), None)
        if axis is None or role not in ("scores", "logits", "probability"):
            return None
        ours, theirs = (np.moveaxis(x, axis, -1).reshape(-1, classes).astype(np.float64) for x in (a, b))
        rows = np.unique(np.concatenate([np.argsort(-x.max(axis=1))[:_TOP_ROWS] for x in (ours, theirs)]))
        parts.append((ours[rows], theirs[rows]))
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


def _class_hypotheses(a: Floats, b: Floats, labels: Sequence[str]) -> Iterator[Named]:
    plain = _gap(a, b)
    active = [int(n) for n in np.flatnonzero(a.max(axis=0) > _SEEN)]
    for shift in (1, -1):
        cut_a, cut_b = (a[:, :-1], b[:, 1:]) if shift == 1 else (a[:, 1:], b[:, :-1])
        if a.shape[1] > 2 and len(active) > 1 and _gap(cut_a, cut_b) < _UNEXPLAINED * plain:
            source = next(n for n in active if 0 <= n + shift < a.shape[1])
            yield Named(
                "labels shifted",
                f"its classes are shifted by one: column {source + shift} of B holds what column {source} of A holds ('{labels[source]}')",
                "a background column is cut off or added at the wrong place; export B again with the labels of all its columns",
            )
            return
    order = _permutation(a, b, active)
    if order is not None and _gap(a[:, active], b[:, [order[n] for n in active]]) < _UNEXPLAINED * plain:
        moved = [n for n in active if order[n] != n]
        yield Named(
            "labels permuted",
            f"its classes are in another order: column {order[moved[0]]} of B holds what column {moved[0]} of A holds "
            f"('{labels[moved[0]]}'); {len(moved)} of {len(active)} seen classes moved",
            "export B again with its labels in the order of its columns",
        )
        return
    yield from _activation(a, b, plain)
    dead = [n for n in active if b[:, n].max() < _DEAD * a[:, n].max()]
    if len(dead) > len(active) / 2 and len(active) > 1:
        yield Named(
            "scores vanish",
            f"the scores of {len(dead)} of {len(active)} seen classes vanish: at most {b[:, dead].max():.3g} in B, "
            f"{a[:, dead].max():.3g} in A; B takes {len(np.unique(b)):,} different values where A takes {len(np.unique(a)):,}",
            "where B is quantized, give its scores a scale of their own, apart from the boxes; else look at its last layer",
        )
        return
    rest = [n for n in range(a.shape[1]) if n not in dead]
    if dead and rest and _gap(a[:, rest], b[:, rest]) < _UNEXPLAINED * _gap(a[:, dead], b[:, dead]):
        n = dead[0]
        yield Named(
            "dead class",
            f"class '{labels[n]}' never scores above {b[:, n].max():.3g} in B, {a[:, n].max():.3g} in A"
            + (f"; dead too: {_listed([labels[other] for other in dead[1:]])}" if dead[1:] else ""),
            "look at the weights of these columns in B's last layer",
        )


def _activation(a: Floats, b: Floats, plain: float) -> Iterator[Named]:
    squashed = {"A's": a, "B's": b}
    for missing, (value, target) in {"B": ("B's", a), "A": ("A's", b)}.items():
        with np.errstate(over="ignore"):
            sigmoid = 1 / (1 + np.exp(-squashed[value]))
        if _gap(target, sigmoid) < _UNEXPLAINED * plain:
            twice = bool(squashed[value].min() >= 0 and squashed[value].max() <= 1)
            which = {"A": "B", "B": "A"}[missing]
            sentence = (
                f"the sigmoid is applied twice in {which}"
                if twice
                else f"{missing} gives logits ({squashed[value].min():.3g} to {squashed[value].max():.3g}), {which} their sigmoid"
            )
            yield Named("activation", sentence, "export again with the activation of the scores exactly once")
            return


def _permutation(a: Floats, b: Floats, active: Sequence[int]) -> dict[int, int] | None:
    """For every seen class of A the column of B that is closest, None where that is no exchange of columns."""
    order = {n: int(np.abs(b - a[:, n : n + 1]).sum(axis=0).argmin()) for n in active}
    moved = any(n != other for n, other in order.items())
    return order if moved and len(set(order.values())) == len(order) else None


def _box_hypotheses(
    arrays: Sequence[tuple[Array, Array]], scores: Sequence[tuple[Array, Array]] | None
) -> Iterator[Named]:
    a, b = _sure_boxes(arrays, scores)
    plain = _gap(a, b)
    forms = {
        "B's boxes have x and y exchanged": b[:, [1, 0, 3, 2]],
        "A gives corners, B centre and size": np.concatenate(
            [b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], axis=1
        ),
        "A gives centre and size, B corners": np.concatenate([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], axis=1),
    }
    ratio = float((a * b).sum() / max(float((b * b).sum()), 1e-12))
    forms[f"B's boxes are A's divided by {ratio:.4g}"] = b * ratio
    for sentence, changed in forms.items():
        if _gap(a, changed) < _UNEXPLAINED * plain:
            yield Named("box format", sentence, "export B again; its manifest must say what its box coordinates mean")
            return


def _sure_boxes(
    arrays: Sequence[tuple[Array, Array]], scores: Sequence[tuple[Array, Array]] | None
) -> tuple[Floats, Floats]:
    """The boxes (R, 4) of the rows that A is surest of; the others are noise."""
    parts = []
    for number, (a, b) in enumerate(arrays):
        ours, theirs = (x.reshape(-1, 4).astype(np.float64) for x in (a, b))
        sure = np.zeros(0) if scores is None else scores[number][0].astype(np.float64)
        if sure.size and sure.size % len(ours) == 0:
            rows = np.argsort(-sure.reshape(len(ours), -1).max(axis=1))[:_TOP_ROWS]
            ours, theirs = ours[rows], theirs[rows]
        parts.append((ours, theirs))
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


def _gap(a: Floats, b: Floats) -> float:
    return float(np.abs(a - b).mean()) if a.size else np.inf


def _correlation(arrays: Sequence[tuple[Array, Array]]) -> float:
    a, b = (np.concatenate([pair[side].astype(np.float64).ravel() for pair in arrays]) for side in (0, 1))
    if not (a.std() and b.std()):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _grid(arrays: Sequence[tuple[Array, Array]]) -> str:
    """How many different values there are: quantized outputs have few."""
    counts = [len(np.unique(np.concatenate([pair[side].ravel() for pair in arrays]))) for side in (0, 1)]
    return f"B takes {counts[1]:,} different values, A {counts[0]:,}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (", ..." if len(names) > 5 else "")
