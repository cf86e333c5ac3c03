"""What the fault tests share: a bundle, and runs that are ended with the test."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.faults.running import Run, started
from tests.tiny import tiny_bundle


@pytest.fixture(scope="session", name="bundle")
def bundle_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that finds blue things."""
    folder = tmp_path_factory.mktemp("faults")
    tiny_bundle(folder)
    return folder / "bundle"


@pytest.fixture(name="start")
def start_fixture(bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    with ExitStack() as runs:

        def start(*words: str, **how: str) -> Run:
            return runs.enter_context(started(bundle, tmp_path, *words, **how))

        yield start


@pytest.fixture(name="full", scope="session")
def full_fixture() -> bool:
    """Whether the slow, whole form of the suite is asked for, as by scripts/fault_suite."""
    return os.environ.get("EDGEWRIGHT_FAULTS") == "full"
