"""Which category of a data set a label of a network means; a wrong pair would only show as a low AP."""

import re
from collections.abc import Sequence, Set

from edgewright.pipeline.datasets import BoxDataset, Category
from edgewright.runtime.errors import DataError
from edgewright.runtime.spec import ModelSpec

# The four names that PASCAL VOC and COCO spell differently beyond spaces.
_SAME = {"aeroplane": "airplane", "motorbike": "motorcycle", "sofa": "couch", "tvmonitor": "tv"}


def match_labels(spec: ModelSpec, dataset: BoxDataset) -> tuple[int | None, ...]:
    """The category id of every label, None for a label that the data set does not have.

    Names decide; where network and data both state ids, they must say the same. Spaces, case and the spelling of PASCAL VOC do
    not matter. DataError when names and ids disagree, or when a category with objects has no label.
    """
    matched = match_names(spec, dataset.categories, dataset.annotated, dataset.uri)
    if dataset.is_numbered:
        _refuse_disagreement(spec, dataset.categories, dataset.uri)
    return matched


def match_names(
    spec: ModelSpec, categories: Sequence[Category], annotated: Set[int], uri: str
) -> tuple[int | None, ...]:
    """The id of the category that has the name of each label, None where none has it.

    DataError when a category of those `annotated` has no label; `uri` is the data set's.
    """
    by_name = {_key(category.name): category.id for category in categories}
    matched = tuple(by_name.get(_key(label)) for label in spec.labels)
    unmatched = [category for category in categories if category.id in annotated and category.id not in matched]
    if unmatched:
        raise DataError(_unmatched_sentence(spec, unmatched, len(annotated), uri))
    return matched


def same_name(a: str, b: str) -> bool:
    """Whether two names mean one class, as `match_labels` compares them."""
    return _key(a) == _key(b)


def _refuse_disagreement(spec: ModelSpec, categories: Sequence[Category], uri: str) -> None:
    if spec.category_ids is None:
        return
    by_id = {category.id: category.name for category in categories}
    by_name = {_key(category.name): category.id for category in categories}
    pairs = list(zip(spec.labels, spec.category_ids, strict=True))
    wrong = [
        (label, number)
        for label, number in pairs
        if (number in by_id and _key(by_id[number]) != _key(label)) or by_name.get(_key(label), number) != number
    ]
    if wrong:
        label, number = wrong[0]
        there = f"'{by_id[number]}'" if number in by_id else "nothing"
        raise DataError(
            f"{len(wrong)} labels of {spec.name} name other categories than {uri}: label {pairs.index(wrong[0])} "
            f"'{label}' has category id {number}, which is {there} in the data; "
            "export the bundle with the labels in the order of the network's outputs, or use the data it belongs to"
        )


def _unmatched_sentence(spec: ModelSpec, unmatched: Sequence[Category], annotated: int, uri: str) -> str:
    name = unmatched[0].name
    return (
        f"{len(unmatched)} of {annotated} categories of {uri} have no label in {spec.name}, the first is "
        f"{unmatched[0].id} '{name}'; labels: {', '.join(spec.labels[:5])}"
        f"{', ...' if len(spec.labels) > 5 else ''}; export the bundle with the labels it was trained on, "
        "or take these categories out of the annotations"
    )


def _key(name: str) -> str:
    plain = re.sub(r"[\s_-]+", "", name).casefold()
    return _SAME.get(plain, plain)
