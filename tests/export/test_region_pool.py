"""Pooled regions are those of torchvision's MultiScaleRoIAlign."""

from collections import OrderedDict

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from edgewright.export.region_pool import static_pool
from edgewright.runtime.errors import ExportError

SIZE = (160, 224)


def maps() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return OrderedDict(
        (str(level), torch.randn(1, 5, SIZE[0] >> (level + 2), SIZE[1] >> (level + 2), generator=generator))
        for level in range(3)
    )


def boxes() -> torch.Tensor:
    """Boxes of every size in the image: points, slivers, at the edges, and the whole."""
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(60, 2, generator=generator) * torch.tensor([224.0, 160.0]) for _ in "ab")
    edges = [[0.0, 0, 224, 160], [223.5, 159.5, 224, 160], [0, 0, 0, 0], [224, 160, 224, 160], [100, 0, 100.2, 160]]
    slivers = [[224 - away, 3, 224 - away + wide, 150] for away in (0.1, 1.3, 2.9, 3.7, 4.1) for wide in (0, 0.1)]
    slivers += [[3, 160 - away, 200, 160 - away] for away in (0.1, 1.3, 2.9, 3.7, 4.1)]
    return torch.cat([torch.cat([torch.minimum(a, b), torch.maximum(a, b)], 1), torch.tensor(edges + slivers)])


@pytest.mark.parametrize("roi", ["op", "grid"])
@pytest.mark.parametrize("names", [["0", "1", "2"], ["1"]])
def test_either_form_gives_torchvisions_features(roi: str, names: list[str]) -> None:
    # A small canonical size spreads these boxes over all levels.
    pool = MultiScaleRoIAlign(names, (5, 7), 2, canonical_scale=56, canonical_level=3)
    wanted = pool(maps(), [boxes()], [SIZE])
    got = static_pool(pool, maps(), SIZE, roi=roi)(maps(), boxes())
    # GridSample wants coordinates from -1 to 1, which float32 rounds to some 5e-6 of a cell; the values here change by 4 a cell.
    torch.testing.assert_close(got, wanted, atol=5e-5 if roi == "grid" else 2e-5, rtol=0)


def test_samples_that_follow_the_regions_side_are_those_of_torchvision() -> None:
    pool = MultiScaleRoIAlign(["0", "1", "2"], 5, 0, canonical_scale=56, canonical_level=3)
    wanted = pool(maps(), [boxes()], [SIZE])
    torch.testing.assert_close(static_pool(pool, maps(), SIZE, roi="op")(maps(), boxes()), wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize("roi", ["op", "grid"])
def test_where_maps_do_not_cover_the_input_there_is_nothing_beyond_them(roi: str) -> None:
    whole = (SIZE[0] + 3, SIZE[1] + 3)  # three pixels at the right and the bottom have no cell of their own
    pool = MultiScaleRoIAlign(["0", "1", "2"], 5, 2, canonical_scale=56, canonical_level=3)
    reaching = boxes() + torch.tensor([0.0, 0, 3, 3])
    wanted = pool(maps(), [reaching], [whole])
    got = static_pool(pool, maps(), whole, roi=roi)(maps(), reaching)
    torch.testing.assert_close(got, wanted, atol=5e-5, rtol=0)


def test_what_cannot_be_pooled_in_a_fixed_shape_is_refused() -> None:
    adaptive = MultiScaleRoIAlign(["0", "1"], 5, 0)
    with pytest.raises(ExportError, match="needs a fixed sampling_ratio"):
        static_pool(adaptive, maps(), SIZE, roi="grid")
    with pytest.raises(ExportError, match="pools its regions with Identity"):
        static_pool(torch.nn.Identity(), maps(), SIZE, roi="op")
