"""docs/recipes.md says all keys, and its examples are recipes."""

import re
from pathlib import Path

import pytest

from edgewright.export.request import DESCRIPTION_KEYS
from edgewright.pipeline.recipe import load_recipe


@pytest.fixture(scope="module")
def text(checkout: Path) -> str:
    return (checkout / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_every_key_of_a_description_is_explained(text: str) -> None:
    tables = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert [key for key in DESCRIPTION_KEYS if f"`{key}`" not in tables] == []


def test_every_example_is_a_recipe(text: str, tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        (tmp_path / "example.yaml").write_text(example)
        assert load_recipe(tmp_path / "example.yaml").family


def test_the_example_that_ships_is_the_one_shown(text: str, checkout: Path) -> None:
    shipped = (checkout / "configs" / "deeplabv3_mnv2_voc.yaml").read_text(encoding="utf-8")
    keys = [line for line in shipped.splitlines() if not line.startswith("#")]
    assert "\n".join(keys) in text
