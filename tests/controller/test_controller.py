"""The Controller's calls, over each transport, against an Orchestrator that notes what it is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from cogment_controller import START_TIMEOUT, Controller, TrialInfo, connect
from cogment_core.api import common_pb2, orchestrator_pb2
from cogment_core.endpoints import Endpoint, ServiceType
from cogment_core.enums import TrialState
from cogment_core.errors import CogmentError, DeadlineError, NotFoundError, RefusedError, RpcError, UsageError
from cogment_core.parameters import ActorParameters, TrialParameters
from cogment_core.rpc import METADATA_LIMIT, UNARY_TIMEOUT

CALLS = {
    "StartTrial": lambda controller, **options: controller.start_trial(**options),
    "TerminateTrial": lambda controller, **options: controller.terminate_trial(["t"], **options),
    "GetTrialInfo": lambda controller, **options: controller.get_trial_info([], **options),
    "Version": lambda controller, **options: controller.get_remote_versions(**options),
}
"""A way to make each unary call, by the method that it calls."""


# --- starting ------------------------------------------------------------------------------------------------------


async def test_start_with_defaults(orchestrator: Any, controller: Controller) -> None:
    """``start_trial()`` sends the user id only, and returns the id that the Orchestrator chose."""
    assert await controller.start_trial() == "trial-0"
    assert orchestrator.calls[0].request == orchestrator_pb2.TrialStartRequest(user_id="me")


@pytest.mark.parametrize("config", [StringValue(value="easy"), StringValue(value="easy").SerializeToString()])
async def test_start_with_config(orchestrator: Any, controller: Controller, config: Any) -> None:
    """A config goes out as the bytes of the message, or as the bytes that are given."""
    await controller.start_trial(config)
    request = orchestrator.calls[0].request
    assert request.WhichOneof("start_data") == "config"
    assert StringValue.FromString(request.config.content).value == "easy"


async def test_start_with_parameters(orchestrator: Any, controller: Controller) -> None:
    """Parameters go out whole, as they are at that moment."""
    parameters = TrialParameters(None, max_steps=3, actors=[ActorParameters(None, "player", name="one")])
    await controller.start_trial(trial_params=parameters)
    parameters.max_steps = 4
    request = orchestrator.calls[0].request
    assert request.WhichOneof("start_data") == "params"
    assert (request.params.max_steps, request.params.actors[0].name) == (3, "one")


async def test_start_with_parameters_that_have_a_config(
    orchestrator: Any, controller: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    """A config within parameters is sent, with a warning that no hook will see it."""
    await controller.start_trial(trial_params=TrialParameters(None, config_serialized=b"\n\x04easy"))
    assert orchestrator.calls[0].request.params.trial_config.content == b"\n\x04easy"
    assert "config in trial_params is ignored" in caplog.text


async def test_start_with_config_and_parameters(orchestrator: Any, controller: Controller) -> None:
    """A config and parameters exclude each other: that is an error before anything is sent."""
    with pytest.raises(UsageError, match="not both"):
        await controller.start_trial(trial_config=b"", trial_params=TrialParameters(None))
    assert orchestrator.calls == []


@pytest.mark.parametrize("arguments", [{"trial_config": "easy"}, {"trial_config": {}}, {"trial_params": {}}])
async def test_start_with_wrong_types(orchestrator: Any, controller: Controller, arguments: Any) -> None:
    """A config that is no message or bytes, and parameters that are none, are errors before anything is sent."""
    with pytest.raises(UsageError, match=f"{next(iter(arguments))} is a "):
        await controller.start_trial(**arguments)
    assert orchestrator.calls == []


async def test_start_with_an_id(orchestrator: Any, controller: Controller) -> None:
    """The requested id goes to the Orchestrator, and comes back."""
    assert await controller.start_trial(trial_id_requested="env-2026-01-01T10:00:00") == "env-2026-01-01T10:00:00"
    assert orchestrator.calls[0].request.trial_id_requested == "env-2026-01-01T10:00:00"


async def test_start_with_an_id_that_is_taken(
    orchestrator: Any, controller: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    """A requested id that is taken starts nothing: the result is empty, and a warning names the id."""
    orchestrator.add_trial("mine")
    assert await controller.start_trial(trial_id_requested="mine") == ""
    assert "'mine' is taken" in caplog.text


async def test_start_with_an_id_that_cannot_be(orchestrator: Any, controller: Controller) -> None:
    """An id that could not be sent to the trial's components is an error before anything is sent."""
    with pytest.raises(UsageError, match=r"start_trial.*printable ASCII"):
        await controller.start_trial(trial_id_requested="é")
    assert orchestrator.calls == []


async def test_start_is_never_repeated_and_an_id_makes_it_exactly_once(
    orchestrator: Any, controller: Controller
) -> None:
    """A lost answer is an error, not another trial; asking again with the same id tells that the first one counted."""
    orchestrator.failure = (grpc.StatusCode.UNAVAILABLE, "the answer was lost")
    with pytest.raises(RpcError, match="the answer was lost"):
        await controller.start_trial(trial_id_requested="mine")
    orchestrator.failure = None
    assert await controller.start_trial(trial_id_requested="mine") == ""
    assert [call.method for call in orchestrator.calls] == ["StartTrial", "StartTrial"]
    assert list(orchestrator.trials) == ["mine"]


# --- ending --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
async def test_terminate(orchestrator: Any, controller: Controller, hard: bool) -> None:
    """The trials to end go as metadata, and whether to wait for their next step in the request."""
    await controller.terminate_trial(["a", "b:c"], hard)
    assert orchestrator.calls[0].trial_ids == ["a", "b:c"]
    assert orchestrator.calls[0].request.hard_termination is hard


@pytest.mark.parametrize("nobody", [[], (), iter([])])
async def test_terminate_nothing(orchestrator: Any, controller: Controller, nobody: Any) -> None:
    """Ending no trial is an error before anything is sent."""
    with pytest.raises(UsageError, match="at least one trial id"):
        await controller.terminate_trial(nobody)
    assert orchestrator.calls == []


async def test_terminate_one_as_text(orchestrator: Any, controller: Controller) -> None:
    """A string is one trial, not a sequence of letters."""
    await controller.terminate_trial("abc")
    assert orchestrator.calls[0].trial_ids == ["abc"]


async def test_terminate_a_thousand(orchestrator: Any, controller: Controller) -> None:
    """More trials than fit into the metadata of one call are ended with several."""
    trial_ids = [f"00000000-0000-0000-0000-{number:012}" for number in range(1000)]
    await controller.terminate_trial(trial_ids, hard=True)
    assert [trial_id for call in orchestrator.calls for trial_id in call.trial_ids] == trial_ids
    assert all(call.request.hard_termination for call in orchestrator.calls)
    assert 10 < len(orchestrator.calls) < 30


async def test_terminate_many_beside_much_metadata(
    orchestrator: Any, fake_context: Any, controller: Controller
) -> None:
    """The Context's metadata leaves less room for trial ids, and no call exceeds what calls may carry."""
    fake_context.metadata.append(("x-session", "x" * 3500))
    trial_ids = [f"00000000-0000-0000-0000-{number:012}" for number in range(20)]
    await controller.terminate_trial(trial_ids)
    assert [trial_id for call in orchestrator.calls for trial_id in call.trial_ids] == trial_ids
    assert len(orchestrator.calls) > 3


async def test_too_much_metadata_is_an_error_that_names_it(
    orchestrator: Any, fake_context: Any, controller: Controller
) -> None:
    """Metadata that no call may carry is refused here, rather than by some server on the way."""
    fake_context.metadata.append(("x-session", "x" * METADATA_LIMIT))
    with pytest.raises(UsageError, match="'x-session'"):
        await controller.terminate_trial(["a"])
    assert orchestrator.calls == []


# --- asking --------------------------------------------------------------------------------------------------------


async def test_trial_info(orchestrator: Any, controller: Controller) -> None:
    """Information about trials comes in the order asked for; trials that are not known are left out."""
    orchestrator.add_trial("a")
    orchestrator.add_trial("b", common_pb2.ENDED)
    infos = await controller.get_trial_info(["b", "unknown", "a"])
    assert infos == [
        TrialInfo("b", TrialState.ENDED, {"kind": "test"}, "env", 3, 12),
        TrialInfo("a", TrialState.RUNNING, {"kind": "test"}, "env", 3, 12),
    ]


@pytest.mark.parametrize("nothing", [[], None])
async def test_trial_info_of_all(orchestrator: Any, controller: Controller, nothing: Any) -> None:
    """Without ids, information about all trials is returned, by one call."""
    orchestrator.add_trial("a")
    orchestrator.add_trial("b")
    assert [info.trial_id for info in await controller.get_trial_info(nothing)] == ["a", "b"]
    assert len(orchestrator.calls) == 1


async def test_trial_info_of_one_as_text(orchestrator: Any, controller: Controller) -> None:
    """A string is one trial, not a sequence of letters."""
    orchestrator.add_trial("abc")
    assert [info.trial_id for info in await controller.get_trial_info("abc")] == ["abc"]


async def test_trial_info_of_a_thousand(orchestrator: Any, controller: Controller) -> None:
    """More trials than fit into the metadata of one call are asked about with several, in order."""
    trial_ids = [f"00000000-0000-0000-0000-{number:012}" for number in range(1000)]
    for trial_id in trial_ids:
        orchestrator.add_trial(trial_id)
    assert [info.trial_id for info in await controller.get_trial_info(trial_ids)] == trial_ids


async def test_actors(orchestrator: Any, controller: Controller) -> None:
    """The actors of a trial are listed with their names and classes."""
    orchestrator.add_trial("a")
    actors = await controller.get_actors("a")
    assert [(actor.actor_name, actor.actor_class_name) for actor in actors] == [("one", "player")]
    assert orchestrator.calls[0].request.get_actor_list


async def test_actors_of_an_unknown_trial(controller: Controller) -> None:
    """Asking for the actors of a trial that is not known is an error that names it."""
    with pytest.raises(NotFoundError, match="'nowhere'") as raised:
        await controller.get_actors("nowhere")
    assert isinstance(raised.value, CogmentError)


async def test_versions(controller: Controller) -> None:
    """The versions of the Orchestrator come by component."""
    assert await controller.get_remote_versions() == {"cogment": "2.22.0"}


async def test_no_specs_needed(controller: Controller) -> None:
    """A Controller always has the specs that it needs: none."""
    assert controller.has_specs()


# --- watching ------------------------------------------------------------------------------------------------------


async def test_watch_current_trials_then_changes(orchestrator: Any, controller: Controller) -> None:
    """A watcher gets the trials that there are, then each change; only id and state without full information."""
    orchestrator.add_trial("a")
    watcher = controller.watch_trials()
    assert await anext(watcher) == TrialInfo("a", TrialState.RUNNING)
    orchestrator.entries.put_nowait(orchestrator_pb2.TrialListEntry(trial_id="a", state=common_pb2.ENDED))
    assert await anext(watcher) == TrialInfo("a", TrialState.ENDED)
    await watcher.aclose()


async def test_watch_with_full_information(orchestrator: Any, controller: Controller) -> None:
    """With full information, all attributes are set."""
    orchestrator.add_trial("a")
    watcher = controller.watch_trials(full_info=True)
    assert await anext(watcher) == TrialInfo("a", TrialState.RUNNING, {"kind": "test"}, "env", 3, 12)
    assert orchestrator.calls[0].request.full_info
    await watcher.aclose()


async def test_watch_filters(orchestrator: Any, controller: Controller) -> None:
    """The filter goes to the Orchestrator, which sends no more than asked for."""
    orchestrator.add_trial("a")
    orchestrator.add_trial("b", common_pb2.ENDED)
    watcher = controller.watch_trials([TrialState.ENDED, TrialState.TERMINATING])
    assert (await anext(watcher)).trial_id == "b"
    assert list(orchestrator.calls[0].request.filter) == [common_pb2.ENDED, common_pb2.TERMINATING]
    await watcher.aclose()


@pytest.mark.parametrize("wrong", ["ENDED", 5, None])
async def test_watch_with_a_wrong_filter(orchestrator: Any, controller: Controller, wrong: Any) -> None:
    """A filter that is no state is an error at the first step, before anything is sent."""
    watcher = controller.watch_trials([wrong])
    with pytest.raises(UsageError, match=f"TrialState, not {type(wrong).__name__}"):
        await anext(watcher)
    assert orchestrator.calls == []


async def test_watching_starts_with_the_iteration(orchestrator: Any, controller: Controller) -> None:
    """A watcher that nobody iterates over calls nobody."""
    await controller.watch_trials().aclose()
    assert orchestrator.calls == []


async def leave_by_false(watcher: Any) -> None:
    with pytest.raises(StopAsyncIteration):
        await watcher.asend(False)


async def leave_by_close(watcher: Any) -> None:
    await watcher.aclose()


async def leave_by_break(watcher: Any) -> None:
    del watcher  # the last reference, as when a loop over `controller.watch_trials()` is left


async def leave_by_exception(watcher: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        await watcher.athrow(ZeroDivisionError())


@pytest.mark.parametrize("leave", [leave_by_false, leave_by_close, leave_by_break, leave_by_exception])
async def test_leaving_the_watch_cancels_the_call(orchestrator: Any, controller: Controller, leave: Any) -> None:
    """However the caller stops watching, the Orchestrator is told: the call does not stay open."""
    orchestrator.add_trial("a")
    watchers = [controller.watch_trials()]
    await anext(watchers[0])
    assert not orchestrator.unwatched.is_set()
    await leave(watchers.pop())
    await asyncio.wait_for(orchestrator.unwatched.wait(), 5)


async def test_breaking_out_of_the_loop_cancels_the_call(orchestrator: Any, controller: Controller) -> None:
    """``break`` in a loop over ``watch_trials()`` ends the call."""
    orchestrator.add_trial("a")
    async for info in controller.watch_trials():
        assert info.trial_id == "a"
        break
    await asyncio.wait_for(orchestrator.unwatched.wait(), 5)


async def test_sending_true_goes_on(orchestrator: Any, controller: Controller) -> None:
    """``asend(True)`` is like the next step."""
    orchestrator.add_trial("a")
    orchestrator.add_trial("b")
    watcher = controller.watch_trials()
    await anext(watcher)
    assert (await watcher.asend(True)).trial_id == "b"
    await watcher.aclose()


async def test_cancelling_the_watching_task_cancels_the_call(orchestrator: Any, controller: Controller) -> None:
    """A task that watches can be cancelled: it ends as cancelled, and so does the call."""

    async def watch() -> None:
        async for _ in controller.watch_trials():
            pass

    task = asyncio.create_task(watch())
    await asyncio.wait_for(orchestrator.watched.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(orchestrator.unwatched.wait(), 5)


async def test_watch_ends_when_the_orchestrator_ends_it(
    orchestrator: Any, controller: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    """An Orchestrator that stops has no more to report: the loop ends, and the log says so."""
    caplog.set_level("INFO", "cogment.sdk")
    orchestrator.add_trial("a")
    orchestrator.entries.put_nowait(None)
    assert [info.trial_id async for info in controller.watch_trials()] == ["a"]
    assert "it reports no more trials" in caplog.text


async def test_watch_that_breaks_off_is_an_error(orchestrator: Any, controller: Controller) -> None:
    """A watch that the Orchestrator breaks off is an error with its reason, after what was sent before."""
    orchestrator.add_trial("a")
    watcher = controller.watch_trials()
    await anext(watcher)
    orchestrator.failure = (grpc.StatusCode.RESOURCE_EXHAUSTED, "you read too slowly")
    orchestrator.entries.put_nowait(None)
    with pytest.raises(RpcError, match=r"WatchTrials at .*RESOURCE_EXHAUSTED: you read too slowly"):
        await anext(watcher)


# --- all calls -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", CALLS)
async def test_every_call_carries_the_metadata_of_the_context(
    orchestrator: Any, controller: Controller, method: str
) -> None:
    """The Context's metadata goes with every unary call."""
    await CALLS[method](controller)
    (call,) = orchestrator.calls
    assert call.method == method
    assert ("authorization", "basic xyz") in call.metadata


async def test_watching_carries_the_metadata_of_the_context(orchestrator: Any, controller: Controller) -> None:
    """The Context's metadata goes with ``watch_trials`` too."""
    orchestrator.add_trial("a")
    watcher = controller.watch_trials()
    await anext(watcher)
    assert ("authorization", "basic xyz") in orchestrator.calls[0].metadata
    await watcher.aclose()


@pytest.mark.parametrize("method", CALLS)
async def test_every_unary_call_has_a_deadline(orchestrator: Any, controller: Controller, method: str) -> None:
    """A call has a deadline by default: starting a trial, which runs hooks, a later one."""
    await CALLS[method](controller)
    limit = START_TIMEOUT if method == "StartTrial" else UNARY_TIMEOUT
    remaining = orchestrator.calls[0].time_remaining
    assert remaining is not None
    assert remaining == pytest.approx(limit, abs=5)


@pytest.mark.parametrize("method", CALLS)
async def test_a_call_that_is_not_answered_ends_at_its_deadline(
    orchestrator: Any, controller: Controller, method: str
) -> None:
    """An Orchestrator that never answers costs the caller the ``timeout``, then a typed error."""
    orchestrator.hangs = True
    with pytest.raises(DeadlineError, match=f"{method} at "):
        await asyncio.wait_for(CALLS[method](controller, timeout=0.1), 5)


@pytest.mark.parametrize("method", CALLS)
async def test_a_refusal_is_a_typed_error(orchestrator: Any, controller: Controller, method: str) -> None:
    """What the Orchestrator refuses is an error with its reason; it is a ``grpc.aio.AioRpcError`` too."""
    orchestrator.failure = (grpc.StatusCode.PERMISSION_DENIED, "not for you")
    with pytest.raises(RefusedError, match=f"{method} at .*PERMISSION_DENIED: not for you") as raised:
        await CALLS[method](controller)
    assert isinstance(raised.value, grpc.aio.AioRpcError)
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("method", CALLS)
async def test_a_call_can_be_cancelled(orchestrator: Any, controller: Controller, method: str) -> None:
    """Cancelling the task that calls is seen by that task as a cancellation."""
    orchestrator.hangs = True
    task = asyncio.create_task(CALLS[method](controller))
    await asyncio.wait_for(orchestrator.called.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


async def test_calls_at_once(orchestrator: Any, controller: Controller) -> None:
    """One Controller serves many tasks at once."""
    trial_ids = await asyncio.gather(*(controller.start_trial(trial_id_requested=f"t{n}") for n in range(50)))
    assert trial_ids == [f"t{n}" for n in range(50)]


async def test_nothing_is_sent_before_the_first_call(orchestrator: Any, fake_context: Any) -> None:
    """Making a Controller and awaiting it asks the Context for no channel and the Orchestrator for nothing."""
    controller = connect(fake_context, Endpoint("grpc://localhost:9000"))
    assert await controller is controller
    assert fake_context.asked_for == []
    assert orchestrator.calls == []


async def test_the_context_decides_where_calls_go(fake_context: Any) -> None:
    """The Context is asked for the channel of the life-cycle service at the Controller's endpoint."""
    endpoint = Endpoint("cogment://discover")
    await connect(fake_context, endpoint).get_remote_versions()
    assert fake_context.asked_for == [(endpoint, ServiceType.LIFE_CYCLE)]


async def test_readable_without_secrets(fake_context: Any) -> None:
    """A Controller prints where it goes, without tokens in the endpoint."""
    endpoint = Endpoint("cogment://discover?__authentication-token=secret")
    text = repr(connect(fake_context, endpoint))
    assert text.startswith("Controller('cogment://discover")
    assert "secret" not in text
