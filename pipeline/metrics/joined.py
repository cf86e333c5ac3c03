"""Results of single images put together as if they had been made at once, in the order in which the images came."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgewright.pipeline.metrics.image_sums import ImageSums
from edgewright.pipeline.metrics.matches import Matches


def joined_matches(parts: Sequence[Matches]) -> Matches:
    """The matches of images of the same categories, matched one by one (or in groups); at least one.

    Image i is the i-th that came. Detections of the same score are ordered by the ids of their images, as those of a whole data
    set are, so that the scores are the same.
    """
    first, offsets = parts[0], np.cumsum([0, *(len(part.image_ids) for part in parts[:-1])])
    image_ids = np.concatenate([part.image_ids for part in parts])
    category, rank, score = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("category", "rank", "score")
    )
    image = np.concatenate([part.image + offset for part, offset in zip(parts, offsets, strict=True)])
    order = np.lexsort((rank, image_ids[image], -score, category))
    objects = [part.object_image + offset for part, offset in zip(parts, offsets, strict=True)]
    return replace(
        first,
        image_ids=image_ids,
        category=category[order],
        image=image[order].astype(np.int32),
        rank=rank[order],
        score=score[order],
        hit=np.concatenate([part.hit for part in parts], axis=1)[:, order],
        ignored=np.concatenate([part.ignored for part in parts], axis=1)[:, order],
        object_category=np.concatenate([part.object_category for part in parts]),
        object_image=np.concatenate(objects).astype(np.int32),
        object_areas=np.concatenate([part.object_areas for part in parts]),
    )


def joined_sums(parts: Sequence[ImageSums]) -> ImageSums:
    """The tables of images of the same shape; image i is the i-th that came. At least one."""
    offsets = np.cumsum([0, *(len(part.image_ids) for part in parts[:-1])])
    image = [part.image + offset for part, offset in zip(parts, offsets, strict=True)]
    return ImageSums(
        image_ids=np.concatenate([part.image_ids for part in parts]),
        shape=parts[0].shape,
        image=np.concatenate(image).astype(np.int32),
        cell=np.concatenate([part.cell for part in parts]),
        amount=np.concatenate([part.amount for part in parts]),
    )
