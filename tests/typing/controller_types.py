# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What a Controller takes and gives."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import StringValue
from typing_extensions import assert_type

import cogment
from cogment.control import Controller, TrialInfo
from cogment.session import ActorInfo


async def get_a_controller(context: cogment.Context) -> None:
    """With and without await it is a Controller."""
    controller = context.get_controller(cogment.Endpoint("grpc://localhost:9000"))
    assert_type(controller, Controller)
    assert_type(await controller, Controller)
    assert_type(await context.get_controller(), Controller)
    context.get_controller("grpc://localhost:9000")  # type: ignore[arg-type]


async def start_trials(controller: Controller, parameters: cogment.TrialParameters) -> None:
    """A trial is started with a config, its bytes, parameters or nothing, and gives its id."""
    assert_type(await controller.start_trial(), str)
    await controller.start_trial(StringValue(value="easy"), "my-trial")
    await controller.start_trial(trial_config=b"\n\x04easy", timeout=5)
    await controller.start_trial(trial_params=parameters, trial_id_requested="my-trial")
    await controller.start_trial("easy")  # type: ignore[arg-type]
    await controller.start_trial(trial_params={})  # type: ignore[arg-type]


async def ask_about_trials(controller: Controller) -> None:
    """What is asked has a type of its own, with plain Python values."""
    infos = await controller.get_trial_info(["my-trial"])
    assert_type(infos, list[TrialInfo])
    assert_type(await controller.get_trial_info(None), list[TrialInfo])
    assert_type(infos[0].state, cogment.TrialState)
    assert_type(infos[0].properties, dict[str, str] | None)
    assert_type(infos[0].tick_id, int | None)
    assert_type(await controller.get_actors("my-trial"), list[ActorInfo])
    assert_type(await controller.get_remote_versions(), dict[str, str])
    await controller.get_actors(["my-trial"])  # type: ignore[arg-type]
    infos[0].state = cogment.TrialState.ENDED  # type: ignore[misc]


async def watch_trials(controller: Controller) -> None:
    """Watching is iterating, and can be told to stop."""
    async for info in controller.watch_trials([cogment.TrialState.ENDED], full_info=True):
        assert_type(info, TrialInfo)
    watcher = controller.watch_trials()
    await watcher.asend(False)
    await watcher.aclose()
    controller.watch_trials(["ENDED"])  # type: ignore[list-item]


async def end_trials(controller: Controller) -> None:
    """Ending trials gives nothing."""
    await controller.terminate_trial(["my-trial"], hard=True)
    assert_type(controller.has_specs(), bool)
