"""The documented attributes, on instances made as the SDK makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

import cogment
from cogment.actor import ActorSession
from cogment.api import common_pb2, datalog_pb2, environment_pb2, trial_datastore_pb2
from cogment.control import TrialInfo
from cogment.datalog import DatalogSession
from cogment.datastore import DatastoreMessage, DatastoreReward, DatastoreSample, DatastoreTrialInfo
from cogment.environment import EnvironmentSession
from cogment.model_registry_v2 import LatestModel, ModelInfo, ModelIterationInfo
from cogment.prehook import PrehookSession
from cogment.session import ActorInfo, RecvAction, RecvEvent, RecvMessage, RecvObservation, RecvReward, RecvRewardSource
from cogment_core.sessions.datalog import Receipts
from cogment_core.sessions.link import Link
from cogment_core.sessions.observer import SessionObserver
from cogment_model_registry.latest import Newest

TRIAL_PARAMETERS = """
    config config_serialized properties max_steps max_inactivity nb_buffered_ticks datalog_endpoint
    datalog_exclude_fields environment_config environment_serialized environment_config_serialized environment_name
    environment_endpoint environment_implementation actors
"""
ACTOR_PARAMETERS = """
    config config_serialized name endpoint implementation initial_connection_timeout response_timeout optional
    default_action default_action_serialized
"""


def context() -> cogment.Context:
    return cogment.Context("me", None)


def environment_session() -> EnvironmentSession:
    init = environment_pb2.EnvInitialInput(name="env", impl_name="default")
    return EnvironmentSession(
        "t",
        init,
        impl_name="default",
        config_type=None,
        actor_specs=[],
        link=Link(lambda message: None),
        observer=SessionObserver(),
    )


def actor_session() -> ActorSession:
    init = common_pb2.ActorInitialInput(actor_name="a", actor_class="c", env_name="env")
    return ActorSession(
        "t",
        init,
        impl_name="i",
        spec=None,
        link=Link(lambda message: None),
        joined_by_client=False,
        observer=SessionObserver(),
    )


async def no_requests() -> AsyncIterator[datalog_pb2.RunTrialDatalogInput]:
    return
    yield datalog_pb2.RunTrialDatalogInput()


def datalog_session() -> DatalogSession:
    return DatalogSession("t", "me", cogment.TrialParameters(None), no_requests(), Receipts(lambda: None))


def log_sample() -> cogment.LogSample:
    sample = cogment.LogSample(cogment.TrialParameters(None))
    sample.deserialize(datalog_pb2.DatalogSample(info=datalog_pb2.SampleInfo(tick_id=1)).SerializeToString())
    return sample


def trial_info() -> DatastoreTrialInfo:
    params = common_pb2.TrialParams(actors=[common_pb2.ActorParams(name="a", actor_class="c")])
    return DatastoreTrialInfo(trial_datastore_pb2.StoredTrialInfo(trial_id="t", params=params), None)


def datastore_sample() -> DatastoreSample:
    actor = trial_datastore_pb2.StoredTrialActorSample(actor=0)
    return DatastoreSample(trial_info().roster, trial_datastore_pb2.StoredTrialSample(actor_samples=[actor]))


ATTRIBUTES: dict[Callable[[], object], str] = {
    context: "served_port asyncio_loop",
    environment_session: "impl_name config name",
    actor_session: "actor_class impl_name config name env_name",
    datalog_session: "trial_id user_id trial_parameters",
    lambda: PrehookSession(cogment.TrialParameters(None), "t", "me"): "trial_parameters",
    lambda: cogment.Endpoint(): "url private_key root_certificates certificate_chain",
    lambda: cogment.ServedEndpoint(): "port private_key_certificate_chain_pairs root_certificates",
    lambda: TrialInfo("t", cogment.TrialState.ENDED): "trial_id properties state env_name tick_id duration",
    lambda: ActorInfo("a", "c"): "actor_name actor_class_name",
    lambda: RecvEvent(cogment.EventType.ACTIVE): "type observation actions rewards messages",
    lambda: RecvObservation(1, 2, b"", AnyMessage): "tick_id timestamp observation",
    lambda: RecvAction(0, 1, cogment.ActorStatus.ACTIVE, 2, None): "tick_id actor_index status timestamp action",
    lambda: RecvMessage(1, "a", "b", AnyMessage()): "tick_id receiver_name sender_name payload",
    lambda: RecvReward(1, "a", 2.0, ()): "tick_id receiver_name value",
    lambda: RecvRewardSource(1.0, 1.0, "a", None): "value confidence sender_name user_data",
    lambda: cogment.TrialParameters(None): TRIAL_PARAMETERS,
    lambda: cogment.ActorParameters(None, "c"): f"class_name {ACTOR_PARAMETERS}",
    trial_info: "trial_id user_id trial_state sample_count parameters",
    datastore_sample: "trial_id trial_state tick_id timestamp actors_data",
    lambda: datastore_sample().actors_data["a"]: (
        "name observation observation_serialized action action_serialized reward"
    ),
    lambda: DatastoreReward(1.0, 1.0, "a", "b", None): "value confidence sender receiver user_data",
    lambda: DatastoreMessage("a", "b", b""): "sender receiver payload",
    lambda: ModelInfo("m", {}): "name properties",
    lambda: ModelIterationInfo("m", 1, 2, "", 3, True, {}): (
        "model_name iteration timestamp hash size stored properties"
    ),
    lambda: LatestModel("m", Newest[bytes](), False): "name",
    log_sample: "out_of_sync tick_id state timestamp events",
}
"""The documented attributes, by what makes an instance."""


@pytest.mark.parametrize("make", ATTRIBUTES)
async def test_instance_has_the_documented_attributes(make: Callable[[], object]) -> None:
    """Each documented attribute can be read."""
    instance = make()
    for name in ATTRIBUTES[make].split():
        getattr(instance, name)


def test_optional_attributes_are_none_or_empty_when_not_present() -> None:
    """An event has no observation (None) and no actions, rewards, messages (empty lists) unless it received them."""
    event = RecvEvent(cogment.EventType.ACTIVE)
    assert event.observation is None
    assert (event.actions, event.rewards, event.messages) == ([], [], [])


async def test_context_serves_at_no_port_before_serving() -> None:
    """``served_port`` is 0 until ``serve_all_registered`` listens."""
    assert context().served_port == 0


@pytest.mark.parametrize("name", TRIAL_PARAMETERS.split())
def test_trial_parameters_take_their_attributes_as_keywords(name: str) -> None:
    """Every attribute can be given to the constructor; None stands for its default."""
    fresh = cogment.TrialParameters(None)
    assert getattr(cogment.TrialParameters(None, **{name: None}), name) == getattr(fresh, name)


@pytest.mark.parametrize("name", ACTOR_PARAMETERS.split())
def test_actor_parameters_take_their_attributes_as_keywords(name: str) -> None:
    """Every attribute but the class can be given to the constructor by its name; None stands for its default."""
    fresh = cogment.ActorParameters(None, "c")
    assert getattr(cogment.ActorParameters(None, class_name="c", **{name: None}), name) == getattr(fresh, name)
