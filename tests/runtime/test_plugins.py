"""What is said about a package that an optional part of the project needs."""

import re
from pathlib import Path

import pytest

from edgewright.runtime.plugins import missing_dependency

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader of its own")

# Where the name of a distribution is not, but for hyphens, that of its import.
IMPORTS = {
    "opencv-python": "cv2",
    "opencv-contrib-python": "cv2",
    "pydensecrf2": "pydensecrf",
    "nvidia-ml-py": "pynvml",
    "paho-mqtt": "paho",
}


def extras() -> list[tuple[str, str]]:
    """Every extra of pyproject.toml that a user may want, with each of its distributions."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    pairs = ((extra, wanted) for extra, all_wanted in project["optional-dependencies"].items() for wanted in all_wanted)
    names = ((extra, re.split(r"[\[<>=!;]", wanted)[0].strip()) for extra, wanted in pairs if extra != "dev")
    return [(extra, name) for extra, name in names if name != "edgewright"]


@pytest.mark.parametrize(("extra", "distribution"), extras())
def test_a_missing_package_is_brought_by_an_extra_that_has_it(extra: str, distribution: str) -> None:
    package = IMPORTS.get(distribution, distribution.replace("-", "_"))
    said = str(missing_dependency(ModuleNotFoundError(name=f"{package}.part"), needed_by="this"))
    offered = re.search(r"pip install 'edgewright\[(.+)\]'$", said)
    assert offered is not None, said
    brought = {IMPORTS.get(name, name.replace("-", "_")) for own, name in extras() if own == offered[1]}
    assert package in brought
