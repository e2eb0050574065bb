"""Folders in which pages are played."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

# Makes the helpers importable: test folders are no packages.
sys.path.insert(0, str(Path(__file__).parent))

from docs_pages import TOUR
from docs_story import Story


@pytest.fixture(scope="session")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the tour, generated modules included."""
    folder = tmp_path_factory.mktemp("tour")
    with closing(Story(folder)) as story:
        story.play(TOUR)
    return folder


@pytest.fixture
def story(tour: Path, tmp_path: Path) -> Iterator[Story]:
    """Plays a page that goes on from the tour."""
    folder = tmp_path / "page"
    shutil.copytree(tour, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with closing(Story(folder)) as result:
        yield result


@pytest.fixture
def empty_story(tmp_path: Path) -> Iterator[Story]:
    """Plays a page in an empty folder."""
    with closing(Story(tmp_path)) as result:
        yield result
