"""Models and their iterations, without the data."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cogment_core.endpoints import ServiceType
from cogment_core.errors import NotFoundError, ProtocolError, RefusedError, RpcError, UsageError
from cogment_model_registry import ModelInfo, ModelRegistry


async def test_client_is_awaitable_and_needs_no_specs(registry: ModelRegistry, fake: Any, context: Any) -> None:
    """A ModelRegistry can be awaited, calls for its Context, and sends nothing before it is asked for something."""
    assert await registry is registry
    assert registry.has_specs()
    assert not fake.calls
    await registry.list_models()
    assert set(context.asked_for) == {ServiceType.MODEL_REG}
    assert fake.metadata["x-project"] == "demo"


def test_endpoint_has_to_be_one() -> None:
    """A text instead of an Endpoint is refused at once."""
    context: Any = None
    endpoint: Any = "grpc://localhost:9002"
    with pytest.raises(UsageError, match="Endpoint"):
        ModelRegistry(context, endpoint)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 35])
async def test_all_pages_are_read(registry: ModelRegistry, fake: Any, count: int) -> None:
    """All models and iterations are listed, whatever the size of the server's pages."""
    for number in range(count):
        fake.models[f"m{number:02}"] = {"n": str(number)}
        fake.add("m", b"x")
    fake.models.setdefault("m", {})
    fake.versions.setdefault("m", [])
    models = await registry.list_models()
    assert [model.name for model in models if model.name != "m"] == [f"m{number:02}" for number in range(count)]
    assert [info.iteration for info in await registry.list_iterations("m")] == list(range(1, count + 1))


async def test_server_whose_list_does_not_go_on_is_refused(registry: ModelRegistry, fake: Any) -> None:
    """A server that gives the same handle again is an error, not an endless loop."""
    fake.models = {f"m{number}": {} for number in range(30)}
    fake.next_handle = "1"
    with pytest.raises(ProtocolError, match="does not go on"):
        await registry.list_models()


async def test_model_has_properties_that_are_replaced(registry: ModelRegistry) -> None:
    """``update_model_info`` makes a model, and replaces all its properties; ``get_model_info`` gives them."""
    await registry.update_model_info("m", {"a": "1", "b": "2"})
    await registry.update_model_info("m", {"c": "3"})
    assert await registry.get_model_info("m") == ModelInfo("m", {"c": "3"})
    assert await registry.list_iterations("m") == []
    assert await registry.get_iteration_info("m", -1) is None


async def test_what_is_not_there_is_none_and_an_unknown_model_an_error(registry: ModelRegistry, fake: Any) -> None:
    """An iteration that is not there gives None, an unknown model an error, except where one asks whether it exists."""
    fake.add("m", b"x")
    assert await registry.get_iteration_info("m", 2) is None
    assert await registry.get_iteration_info("m", 0) is None
    assert await registry.get_iteration_info("m", -2) is None
    assert await registry.get_model_info("other") is None
    for call in (registry.get_iteration_info("other", -1), registry.list_iterations("other")):
        with pytest.raises(NotFoundError, match="other"):
            await call
    with pytest.raises(NotFoundError):
        await registry.remove_model("other")


async def test_iteration_is_described(registry: ModelRegistry, fake: Any, sha256: Any) -> None:
    """The information on an iteration has everything that the Model Registry says."""
    fake.add("m", b"abc", stored=False)
    fake.versions["m"][0][0].user_data["k"] = "v"
    info = await registry.get_iteration_info("m", -1)
    assert info is not None
    assert (info.model_name, info.iteration, info.timestamp) == ("m", 1, 1_700_000_000_000_000_000)
    assert (info.hash, info.size, info.stored, info.properties) == (sha256(b"abc"), 3, False, {"k": "v"})
    assert str(info) == "iteration 1 of model 'm'"


async def test_removed_model_is_gone(registry: ModelRegistry, fake: Any) -> None:
    """A model that is removed takes its iterations with it."""
    fake.add("m", b"x")
    await registry.remove_model("m")
    assert await registry.get_model_info("m") is None


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.PERMISSION_DENIED])
async def test_other_failures_are_errors(registry: ModelRegistry, fake: Any, code: grpc.StatusCode) -> None:
    """Only what is not there is None: any other failure of a call is raised."""
    fake.add("m", b"x")
    fake.failure = (code, "broken")
    calls: list[Any] = [
        registry.get_model_info("m"),
        registry.get_iteration_info("m", 1),
        registry.retrieve_model("m"),
        registry.list_models(),
        registry.update_model_info("m", {}),
        registry.store_model("m", b"x"),
        registry.track_latest_model("m"),
        anext(registry.iteration_updates("m")),
    ]
    for call in calls:
        with pytest.raises(RpcError, match="broken"):
            await call


async def test_wrong_arguments_are_refused_before_anything_is_sent(registry: ModelRegistry, fake: Any) -> None:
    """Names are text, and some; numbers are whole; properties are texts. Existing servers remove all for no name."""
    any_registry: Any = registry
    calls = [
        any_registry.remove_model(""),
        any_registry.remove_model(3),
        any_registry.get_model_info(b"m"),
        any_registry.get_iteration_info("m", "1"),
        any_registry.get_iteration_info("m", 2**31),
        any_registry.retrieve_model("m", 1.5),
        any_registry.retrieve_model("m", timeout=0),
        any_registry.update_model_info("m", ["a"]),
        any_registry.update_model_info("m", {"a": 1}),
        any_registry.store_model("m", b"x", {1: "a"}),
        any_registry.store_model("", b"x"),
        any_registry.track_latest_model("m", "function"),
        any_registry.track_latest_model("m", lambda: None),
        any_registry.track_latest_model("m", lambda a, b: None),
        any_registry.track_latest_model("m", None, "soon"),
        anext(any_registry.iteration_updates("")),
    ]
    for call in calls:
        with pytest.raises(UsageError):
            await call
    assert not fake.calls


@pytest.mark.parametrize("existing", [False, True])
async def test_updates_begin_with_the_latest(registry: ModelRegistry, fake: Any, existing: bool) -> None:
    """``iteration_updates`` gives the latest iteration, then each newer one, and an error for an unknown model."""
    fake.existing = existing
    with pytest.raises(NotFoundError, match="no model 'm'"):
        await anext(registry.iteration_updates("m"))
    fake.add("m", b"1")
    fake.add("m", b"2")
    updates = registry.iteration_updates("m")
    assert (await anext(updates)).iteration == 2
    fake.add("m", b"3")
    assert (await anext(updates)).iteration == 3
    await updates.aclose()


async def test_refusal_of_updates_of_a_model_that_is_there_is_an_error(registry: ModelRegistry, fake: Any) -> None:
    """An existing server's way to say that a model is unknown is not taken for that when it is known."""
    fake.add("m", b"1")
    updates = registry.iteration_updates("m")
    await anext(updates)
    fake.failure = (grpc.StatusCode.INVALID_ARGUMENT, "odd")
    fake.tell()
    with pytest.raises(RefusedError, match="odd"):
        await anext(updates)
