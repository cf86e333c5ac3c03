"""The checks of the code that runs engines notice when it is broken; the whole list is run by scripts/mutate_tensorrt."""

from pathlib import Path

import pytest
from tests.fake_tensorrt.mutants import MUTANTS, Mutant, caught_by, mutated
from tests.fake_tensorrt.world import compiled, compiler

# Another choice of a few for every few that are added.
SAMPLE = MUTANTS[::5]


def test_every_breakage_still_applies_to_the_code() -> None:
    assert len(MUTANTS) >= 30
    for mutant in MUTANTS:
        assert mutated(mutant)


@pytest.mark.skipif(compiler() is None, reason="no C compiler to make the imitation of libcudart")
@pytest.mark.parametrize("mutant", SAMPLE, ids=[mutant.what for mutant in SAMPLE])
def test_a_breakage_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    assert caught_by(mutant, compiled("cudart", tmp_path)) is not None


@pytest.mark.skipif(compiler() is None, reason="no C compiler to make the imitation of libcudart")
def test_code_that_is_not_broken_passes_every_check(tmp_path: Path) -> None:
    """Else every breakage would seem caught."""
    for file in ("runner", "build"):
        same = Mutant("nothing", file, "from typing import", "from typing import")
        assert caught_by(same, compiled("cudart", tmp_path)) is None


def test_the_page_names_every_breakage_and_at_least_95_in_100_are_caught(checkout: Path) -> None:
    lines = (checkout / "docs/tensorrt.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.count("|") == 4]
    broken = {(row[0], row[1]): row[2] for row in rows}
    assert {(f"{mutant.file}.py", mutant.what) for mutant in MUTANTS} <= broken.keys()
    ours = [by for (where, _), by in broken.items() if where.endswith(".py") or where == "a graph"]
    assert sum(by != "nothing" for by in ours) >= 0.95 * len(ours)
