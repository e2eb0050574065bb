"""Finding and deleting trials, over each transport, against a datastore that answers as the existing one does."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from stored_trials import episode, specs, trial_params

from cogment_core.api import common_pb2, trial_datastore_pb2
from cogment_core.endpoints import Endpoint, ServiceType
from cogment_core.enums import TrialState
from cogment_core.errors import ProtocolError, RefusedError, RpcError, UsageError
from cogment_datastore import Datastore, connect
from cogment_datastore.requests import as_milliseconds


def fill(server: Any, count: int, prefix: str = "t") -> list[str]:
    """Add trials; the second, fourth... have ``kind: even``. Returns their ids."""
    for number in range(count):
        params = trial_params(properties={"kind": "odd" if number % 2 == 0 else "even"})
        server.add_trial(f"{prefix}{number}", params, episode(2))
    return [f"{prefix}{number}" for number in range(count)]


# --- get_trials -----------------------------------------------------------------------------------------------------


async def test_get_all_trials(server: Any, datastore: Datastore) -> None:
    """``get_trials()`` gives all trials, with what is known of each."""
    fill(server, 3)
    infos = await datastore.get_trials()
    assert [info.trial_id for info in infos] == ["t0", "t1", "t2"]
    assert infos[0].user_id == "log exporter server"
    assert infos[0].trial_state is TrialState.ENDED
    assert infos[0].sample_count == 2
    assert infos[0].parameters.actors["bob"].implementation == "trained"
    assert infos[0].parameters is infos[0].parameters
    assert not infos[0].has_specs()


async def test_get_trials_by_id_and_property(server: Any, datastore: Datastore) -> None:
    """Ids and properties both have to match; ids that are not known are left out, and repeated ones count once."""
    fill(server, 4)
    infos = await datastore.get_trials(["t3", "t1", "t1", "t0", "unknown"], {"kind": "even"})
    assert [info.trial_id for info in infos] == ["t1", "t3"]


async def test_a_large_store_is_asked_in_parts(server: Any, datastore: Datastore) -> None:
    """All trials, or many, need not fit into one reply: no request is for more than 500 of them."""
    ids = fill(server, 501)
    for chosen in ([], ids):
        assert [info.trial_id for info in await datastore.get_trials(chosen)] == ids
    assert all(0 < request.trials_count <= 500 for request in server.requests("RetrieveTrials"))


async def test_get_trials_from_an_empty_store(server: Any, datastore: Datastore) -> None:
    """A page without trials ends the search, whatever handle it has: the existing server's says "0"."""
    assert await datastore.get_trials() == []
    assert await datastore.get_trials(["t"]) == []
    assert len(server.requests("RetrieveTrials")) == 2


async def test_get_known_trials_is_one_call(server: Any, datastore: Datastore) -> None:
    """Once all ids are found, no further page is asked for."""
    fill(server, 3)
    assert len(await datastore.get_trials(["t0", "t2"])) == 2
    assert len(server.requests("RetrieveTrials")) == 1


async def test_get_trials_from_a_server_that_limits_pages(server: Any, datastore: Datastore) -> None:
    """A page that is shorter than asked for is not the last: nothing is left out."""
    ids = fill(server, 7)
    server.page_limit = 3
    assert [info.trial_id for info in await datastore.get_trials()] == ids
    assert [info.trial_id async for info in datastore.all_trials(bundle_size=5)] == ids


async def test_trial_without_samples_and_of_a_newer_protocol(server: Any, datastore: Datastore) -> None:
    """The state is UNKNOWN if there are no samples yet, or if it is one that we do not know."""
    server.add_trial("new", trial_params(), [])
    server.add_trial("future", trial_params(), [])
    server.trials["future"].last_state = 99
    infos = await datastore.get_trials()
    assert [info.trial_state for info in infos] == [TrialState.UNKNOWN, TrialState.UNKNOWN]
    assert infos[0].sample_count == 0


# --- waiting --------------------------------------------------------------------------------------------------------


async def test_wait_for_a_trial_that_is_not_there_yet(server: Any, datastore: Datastore) -> None:
    """``wait_for_trials`` gives the trial as soon as it is there; nobody has to ask again and again."""
    getting = asyncio.create_task(datastore.get_trials(["t0"], wait_for_trials=30))
    while not server.calls:
        await asyncio.sleep(0)
    fill(server, 1)
    (info,) = await asyncio.wait_for(getting, 20)
    assert info.trial_id == "t0"


async def test_wait_for_any_trial(server: Any, datastore: Datastore) -> None:
    """Without ids ``get_trials`` waits for the first trial, and gives all that there are then."""
    getting = asyncio.create_task(datastore.get_trials(wait_for_trials=30))
    while len(server.calls) < 2:
        await asyncio.sleep(0)
    fill(server, 1)
    assert [info.trial_id for info in await asyncio.wait_for(getting, 20)] == ["t0"]


async def test_wait_ends_when_the_time_is_up(server: Any, datastore: Datastore) -> None:
    """Those that did not come in time are missing from the result; that is no error, and waited for once."""
    fill(server, 1)
    assert [info.trial_id for info in await datastore.get_trials(["t0", "later"], wait_for_trials=0.01)] == ["t0"]
    assert [request.timeout for request in server.requests("RetrieveTrials")] == [10, 0]
    assert [info.trial_id async for info in datastore.all_trials(5, 0.01, ids=["t0", "later"])] == ["t0"]


async def test_wait_for_more_trials_while_iterating(server: Any, datastore: Datastore) -> None:
    """``all_trials`` with ``wait_for_trials`` gives trials as they come, and ends when none came for that long."""
    fill(server, 1)
    trials = datastore.all_trials(wait_for_trials=0.3)
    assert (await anext(trials)).trial_id == "t0"
    fill(server, 1, "late")
    assert (await anext(trials)).trial_id == "late0"
    with pytest.raises(StopAsyncIteration):
        await anext(trials)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 2**32, "soon"])
async def test_wait_that_cannot_be(server: Any, datastore: Datastore, seconds: Any) -> None:
    """A time to wait that does not fit into a request is an error before anything is sent."""
    with pytest.raises(UsageError, match="wait_for_trials"):
        await datastore.get_trials(wait_for_trials=seconds)
    with pytest.raises(UsageError, match="wait_for_trials"):
        await anext(datastore.all_trials(wait_for_trials=seconds))
    assert not server.calls


def test_short_waits_are_waits() -> None:
    """A time to wait is rounded up to milliseconds: less than one is not none."""
    assert [as_milliseconds(seconds) for seconds in (0, 0.0001, 0.0015, 2)] == [0, 1, 2, 2000]


# --- all_trials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bundle_size", [1, 2, 3, 5, 100])
async def test_iterate_over_trials(server: Any, datastore: Datastore, bundle_size: int) -> None:
    """``all_trials`` gives each matching trial once, whatever the size of a bundle."""
    fill(server, 5)
    found = [info.trial_id async for info in datastore.all_trials(bundle_size, properties={"kind": "odd"})]
    assert found == ["t0", "t2", "t4"]
    assert all(request.trials_count == bundle_size for request in server.requests("RetrieveTrials"))


async def test_iterate_ends_without_a_handle(server: Any, datastore: Datastore) -> None:
    """A reply without a handle is the last."""
    infos = [trial_datastore_pb2.StoredTrialInfo(trial_id="a")]
    server.pages = [trial_datastore_pb2.RetrieveTrialsReply(trial_infos=infos)]
    assert [info.trial_id async for info in datastore.all_trials()] == ["a"]
    assert len(server.calls) == 1


async def test_iterate_over_a_server_that_repeats_itself(server: Any, datastore: Datastore) -> None:
    """A server that leads in a circle is an error, not an endless loop."""
    infos = [trial_datastore_pb2.StoredTrialInfo(trial_id="a")]
    page = trial_datastore_pb2.RetrieveTrialsReply(trial_infos=infos, next_trial_handle="7")
    server.pages = [page, page, page]
    with pytest.raises(ProtocolError, match="same trials again"):
        [info async for info in datastore.all_trials()]


@pytest.mark.parametrize("bundle_size", [0, -1, 2**32, 1.5, True])
async def test_iterate_with_a_bundle_that_cannot_be(datastore: Datastore, bundle_size: Any) -> None:
    """A bundle is at least one trial."""
    with pytest.raises(UsageError, match="bundle_size"):
        await anext(datastore.all_trials(bundle_size))


@pytest.mark.parametrize("ids", ["t0", [1], [None]])
async def test_ids_that_cannot_be(server: Any, datastore: Datastore, ids: Any) -> None:
    """Ids are texts in a list; one text is not a list of letters."""
    with pytest.raises(UsageError, match="trial id"):
        await datastore.get_trials(ids)
    with pytest.raises(UsageError, match="trial id"):
        await anext(datastore.all_trials(ids=ids))
    with pytest.raises(UsageError, match="trial id"):
        await datastore.delete_trials(ids)
    with pytest.raises(UsageError, match="property"):
        await datastore.get_trials(properties={"a": 1})
    assert not server.calls


# --- deleting, versions ---------------------------------------------------------------------------------------------


async def test_delete_trials(server: Any, datastore: Datastore) -> None:
    """Trials are deleted by id; those that are not there do not matter."""
    fill(server, 3)
    await datastore.delete_trials(["t0", "t2", "unknown"])
    assert list(server.trials) == ["t1"]


async def test_delete_nothing(server: Any, datastore: Datastore) -> None:
    """Deleting no trial is an error before anything is sent."""
    with pytest.raises(UsageError, match="at least one trial id"):
        await datastore.delete_trials([])
    assert not server.calls


async def test_remote_versions(datastore: Datastore) -> None:
    """The versions of the server's components, by name."""
    assert await datastore.get_remote_versions() == {"cogment": "2.22.0"}


# --- the client -----------------------------------------------------------------------------------------------------


async def test_failures_are_errors_of_ours(server: Any, datastore: Datastore) -> None:
    """What the server refuses is an `RpcError` that says what was called, and why it failed."""
    server.failure = (grpc.StatusCode.INVALID_ARGUMENT, "bad handle")
    with pytest.raises(RefusedError, match=r"RetrieveTrials at .*bad handle"):
        await datastore.get_trials()
    with pytest.raises(RpcError, match="bad handle"):
        await anext(datastore.all_trials())
    with pytest.raises(RpcError, match="bad handle"):
        await datastore.delete_trials(["a"])


async def test_making_a_client_sends_nothing(fake_context: Any) -> None:
    """A client is made without a connection; it can be awaited, and need not be."""
    datastore = connect(fake_context, Endpoint())
    assert await datastore is datastore
    assert fake_context.asked_for == []
    assert "cogment://discover" in repr(datastore)


async def test_discovery_asks_for_a_datastore(fake_context: Any) -> None:
    """What a discovery endpoint is to lead to is a datastore."""
    await connect(fake_context, Endpoint()).get_trials()
    ((endpoint, service_type),) = fake_context.asked_for
    assert (endpoint.url, service_type) == ("cogment://discover", ServiceType.DATASTORE)


@pytest.mark.parametrize("endpoint", ["grpc://localhost:9003", None])
async def test_endpoint_that_is_none(fake_context: Any, endpoint: Any) -> None:
    """A text is no endpoint; the error says how to make one."""
    with pytest.raises(UsageError, match="Endpoint"):
        connect(fake_context, endpoint)


async def test_closed_client(server: Any, datastore: Datastore) -> None:
    """After ``async with`` the client is closed: calls and iterations are refused."""
    ids = fill(server, 1)
    async with datastore as same:
        assert same is datastore
        samples = datastore.all_samples(await datastore.get_trials(ids))
        await anext(samples)
    for call in (datastore.get_trials(), datastore.delete_trials(ids), anext(samples), anext(datastore.all_trials())):
        with pytest.raises(UsageError, match="closed"):
            await call
    await datastore.close()


async def test_client_takes_attributes(datastore: Datastore) -> None:
    """Programs put attributes of their own on a client."""
    datastore._timeout = 60
    assert datastore._timeout == 60


async def test_has_specs(make_datastore: Any) -> None:
    """A client, and what it gives, has the specs that the Context has."""
    assert make_datastore(specs()).has_specs()
    assert not make_datastore(None).has_specs()


async def test_infos_have_the_specs(server: Any, make_datastore: Any) -> None:
    """Trials know the specs, and their parameters use them."""
    fill(server, 1)
    (info,) = await make_datastore(specs()).get_trials()
    assert info.has_specs()
    assert info.parameters.has_specs()
    assert info.to_proto().last_state == common_pb2.ENDED
    assert repr(info) == "DatastoreTrialInfo('t0', ENDED, sample_count=2)"
