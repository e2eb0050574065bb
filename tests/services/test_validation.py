"""Which parameters a trial can be run with, and what is filled in."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api.common_pb2 import TrialParams
from cogment_services.orchestrator.limits import Limits
from cogment_services.orchestrator.validation import ParametersError, complete_parameters


def params_with(*actors: dict[str, Any], **fields: Any) -> TrialParams:
    """Parameters with actors that are right but for what is given."""
    params = TrialParams(**fields)
    for index, given_fields in enumerate(actors or ({},)):
        params.actors.add(**{"name": f"a{index}", "actor_class": "player", "endpoint": "grpc://x:1", **given_fields})
    return params


def test_what_is_left_out_is_filled_in() -> None:
    """The environment is called env, and two ticks are buffered; all else stays as it is."""
    params = params_with(max_steps=7, max_inactivity=3, properties={"k": "v"})
    params.trial_config.content = b"x"
    expected = TrialParams()
    expected.CopyFrom(params)
    expected.environment.name = "env"
    expected.nb_buffered_ticks = 2
    complete_parameters(params)
    assert params == expected
    complete_parameters(params)
    assert params == expected


@pytest.mark.parametrize("blank", [" ", "\t\n", ""])
def test_white_space_around_endpoints_is_taken_away(blank: str) -> None:
    """So an endpoint that is nothing else is one that was left out, for everybody who looks at it afterwards."""
    params = params_with({"endpoint": blank}, {"endpoint": f"{blank}grpc://x:1{blank}"})
    params.environment.endpoint = blank
    params.datalog.endpoint = blank
    complete_parameters(params)
    endpoints = [params.environment.endpoint, params.datalog.endpoint, *(actor.endpoint for actor in params.actors)]
    assert endpoints == ["", "", "", "grpc://x:1"]


@given(st.integers(-(2**63), 2**63 - 1))
def test_the_number_of_buffered_ticks_is_made_one_that_works(asked: int) -> None:
    """At least 2, at most what the limits allow."""
    params = params_with(nb_buffered_ticks=asked)
    complete_parameters(params, Limits(buffered_ticks=50))
    assert params.nb_buffered_ticks == (2 if asked == 0 else min(max(asked, 2), 50))


@pytest.mark.parametrize(("asked", "warned"), [(0, False), (1, True), (-3, True), (2, False), (10**9, True)])
def test_a_number_of_buffered_ticks_that_is_not_used_is_warned_about(
    asked: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """0 means the default, so it is silent."""
    with caplog.at_level(logging.WARNING, "cogment.sdk"):
        complete_parameters(params_with(nb_buffered_ticks=asked))
    assert bool(caplog.records) is warned


@pytest.mark.parametrize(
    ("actors", "says"),
    [
        (({"name": ""},), r"actors\[0\]: name is empty"),
        (({}, {"name": ""}), r"actors\[1\]: name is empty"),
        (({"actor_class": ""},), r"actor \[a0\]: actor_class is empty"),
        (({"name": "env"},), r"the name \[env\] is that of the environment"),
        (({}, {"name": "b"}, {"name": "a0"}), r"actors\[2\]: the name \[a0\] is that of actors\[0\]"),
        (({"name": "a\nb"},), "characters that cannot be shown"),
        (({"name": "a\x00"},), "characters that cannot be shown"),
        (({"actor_class": "a\x1b"},), "characters that cannot be shown"),
        (({"response_timeout": float("nan")},), "response_timeout is nan"),
        (({"initial_connection_timeout": float("inf")},), "initial_connection_timeout is inf"),
        (({"endpoint": ""}, {"endpoint": "nonsense://x"}), r"actor \[a1\]: endpoint"),
        (({"endpoint": "", "actor_class": "a/b"},), r"actor_class \[a/b\] cannot be discovered: it has /"),
        (
            ({"endpoint": "cogment://discover?x=1", "implementation": "a&b=c"},),
            r"implementation \[a&b=c\] cannot be discovered: it has & =",
        ),
    ],
)
def test_actors_that_cannot_be_are_refused(actors: tuple[dict[str, Any], ...], says: str) -> None:
    """The error says which actor, what is wrong, and is not about anything else."""
    with pytest.raises(ParametersError, match=says):
        complete_parameters(params_with(*actors))


def test_a_trial_needs_actors_but_not_too_many() -> None:
    """None, or more than the limits allow, is an error."""
    with pytest.raises(ParametersError, match="no actors"):
        complete_parameters(TrialParams())
    with pytest.raises(ParametersError, match="3 actors, more than the 2 allowed"):
        complete_parameters(params_with({}, {}, {}), Limits(actors=2))


def test_environments_that_cannot_be_are_refused() -> None:
    """A name that cannot be shown, an implementation that cannot be discovered, an endpoint that is none."""
    for fields, says in (
        ({"name": "\x7f"}, "environment: name"),
        ({"implementation": "a,b"}, r"implementation \[a,b\] cannot be discovered"),
        ({"endpoint": "http://x"}, "environment: endpoint"),
    ):
        params = params_with()
        for field, value in fields.items():
            setattr(params.environment, field, value)
        with pytest.raises(ParametersError, match=says):
            complete_parameters(params)


@pytest.mark.parametrize("character", "%?&=;:/+,#@[]")
def test_only_what_is_discovered_has_to_fit_into_a_url(character: str) -> None:
    """With an endpoint that says where to go, names of classes and implementations may be anything."""
    value = f"x{character}y"
    for endpoint in ("grpc://x:1", "cogment://client", "client", "cogment://discover/actor?a=b"):
        complete_parameters(params_with({"endpoint": endpoint, "actor_class": value, "implementation": value}))
    for endpoint in ("", "  ", "cogment://discover", "COGMENT://Discover?a=b"):
        with pytest.raises(ParametersError, match="cannot be discovered"):
            complete_parameters(params_with({"endpoint": endpoint, "actor_class": value}))


@pytest.mark.parametrize("name", ["*", "a.b", "player.*", "x y", "日本", "a:b/c"])
def test_unusual_names_are_names(name: str) -> None:
    """There is no other rule for the names of actors."""
    complete_parameters(params_with({"name": name}))


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.5, 1e9])
def test_negative_timeouts_are_none(seconds: float) -> None:
    """As 0 is."""
    complete_parameters(params_with({"response_timeout": seconds, "initial_connection_timeout": seconds}))
