"""A stage of separate processes for each test, and their logs when it fails."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

# Makes the harness importable: test folders are no packages.
sys.path.insert(0, str(Path(__file__).parent))

from harness.stage import Stage

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes are killed and frozen here by the clock: on a machine that is busy otherwise, one may miss its bound.

    Such a test is run once more; the summary tells which was.
    """
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(180))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Starts processes, and ends them all after the test; those that nobody killed have to be alive and well then."""
    result = Stage()
    try:
        yield result
        await result.close()
    finally:
        await result.kill_all()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the processes of a failed test said."""
    outcome = yield
    report = outcome.get_result()
    stage = getattr(item, "funcargs", {}).get("stage")
    if report.failed and isinstance(stage, Stage):
        report.sections.extend((f"process {process.name}", process.transcript()) for process in stage.processes)
