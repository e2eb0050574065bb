"""That the stage of these tests notices what must not happen to a process."""

from __future__ import annotations

import os
import signal

import pytest
from harness.stage import Stage


@pytest.fixture
async def own_stage():
    """A stage that the test itself closes."""
    result = Stage()
    yield result
    await result.kill_all()


async def test_a_process_that_ends_by_itself_is_a_failure(own_stage) -> None:
    """Whoever dies without having been killed by the test fails it."""
    component = await own_stage.component("component", "actor")
    os.kill(component.pid, signal.SIGKILL)  # not through the stage: it does not expect this
    await component.exit()
    with pytest.raises(AssertionError, match="component has ended"):
        await own_stage.close()


async def test_a_complaint_in_the_log_is_a_failure(own_stage) -> None:
    """So does who logs what must not be logged, unless that is forgiven."""
    component = await own_stage.component("component", "actor")
    component.log += ["it was so:", "Task exception was never retrieved"]
    component.forgiven = ("other",)
    with pytest.raises(AssertionError, match="it was so: / Task exception was never retrieved"):
        await own_stage.close()
    component.forgiven = ("it was so",)
    assert component.complaints() == []


async def test_a_process_that_does_not_tell_in_time_is_a_failure(own_stage) -> None:
    """What is expected has to come before the time is over, and before the process ends."""
    component = await own_stage.component("component", "actor")
    with pytest.raises(AssertionError, match=r"component: tick .* not within [0-9.]+ s"):
        await component.expect("tick", timeout=0.1)
    component.kill()
    with pytest.raises(AssertionError, match="it has ended with -9"):
        await component.expect("tick")
