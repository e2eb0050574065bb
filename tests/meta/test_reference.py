"""The documented interface: every class, method, parameter, default and attribute that the reference names."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Awaitable, Iterator
from importlib import import_module
from typing import Any, NamedTuple, get_type_hints

import pytest

# One line per method, as the reference writes it. `async` is documented as a coroutine, `generator` as an asynchronous
# generator, `iterator` as a plain one. A new client (Datastore, ModelRegistry...) adds its classes here.
# ruff: noqa: E501
METHODS = {
    "cogment.context.Context": """
        __init__(self, user_id, cog_settings, asyncio_loop=None, prometheus_registry=REGISTRY, directory_endpoint=None, directory_auth_token=None)
        has_specs(self)
        async serve_all_registered(self, served_endpoint=ServedEndpoint(), prometheus_port=None, directory_registration_host=None)
        async get_controller(self, endpoint=Endpoint())
        async get_datastore(self, endpoint=Endpoint())
        async get_model_registry_v2(self, endpoint=Endpoint())
        async join_trial(self, trial_id, endpoint=Endpoint(), impl_name=None, actor_name=None, actor_class=None)
        register_environment(self, impl, impl_name, properties={})
        register_actor(self, impl, impl_name, actor_classes=[], properties={})
        register_pre_trial_hook(self, impl, properties={})
        register_datalog(self, impl, properties={})
        get_directory(self, endpoint, authentication_token=None)
        get_context_directory(self)
    """,
    "cogment.directory.Directory": """
        async register_host(self, type, host, port, ssl=False, properties=None)
        async deregister_service(self, service_id, secret)
        async inquire_by_id(self, service_id)
        async inquire_by_type(self, type, properties)
        async get_inquired_endpoint(self, endpoint, type=None, properties=None)
    """,
    "cogment.control.Controller": """
        has_specs(self)
        async start_trial(self, trial_config=None, trial_id_requested=None, trial_params=None)
        async terminate_trial(self, trial_ids, hard=False)
        async get_trial_info(self, trial_ids)
        generator watch_trials(self, trial_state_filters=[], full_info=False)
        async get_actors(self, trial_id)
        async get_remote_versions(self)
    """,
    "cogment.datastore.Datastore": """
        has_specs(self)
        async get_trials(self, ids=[], properties={})
        generator all_trials(self, bundle_size=1, wait_for_trials=0, properties={}, ids=[])
        async delete_trials(self, ids)
        generator all_samples(self, trial_infos, actor_names=[], actor_classes=[], actor_implementations=[], fields=[])
    """,
    "cogment.datastore.DatastoreTrialInfo": """
        has_specs(self)
    """,
    "cogment.datastore.DatastoreSample": """
        has_specs(self)
    """,
    "cogment.datastore.DatastoreActorData": """
        has_specs(self)
        iterator all_received_rewards(self)
        iterator all_sent_rewards(self)
        iterator all_received_messages(self)
        iterator all_sent_messages(self)
    """,
    "cogment.model_registry_v2.ModelRegistry": """
        has_specs(self)
        async store_model(self, name, model, iteration_properties=None)
        async publish_model(self, name, model, iteration_properties=None)
        async retrieve_model(self, name, iteration=-1)
        async remove_model(self, name)
        async list_models(self)
        async list_iterations(self, model_name)
        async get_iteration_info(self, name, iteration)
        async update_model_info(self, name, properties)
        async get_model_info(self, name)
        generator iteration_updates(self, model_name)
        async track_latest_model(self, name, deserialize_func=None, initial_wait=0)
    """,
    "cogment.model_registry_v2.LatestModel": """
        async get(self)
        is_deserialized(self)
        is_available(self)
        async wait_for_available(self)
        async wait_for_newer(self, iteration)
    """,
    "cogment.session.Session": """
        get_trial_id(self)
        get_tick_id(self)
        is_trial_over(self)
        sending_done(self)
        add_reward(self, value, confidence, to, tick_id=-1, user_data=None)
    """,
    "cogment.environment.EnvironmentSession": """
        start(self, observations=None, auto_done_sending=True)
        generator all_events(self)
        produce_observations(self, observations)
        end(self, final_observations)
        get_active_actors(self)
        send_message(self, payload, to)
    """,
    "cogment.actor.ActorSession": """
        start(self, auto_done_sending=True)
        generator all_events(self)
        do_action(self, action)
        send_message(self, payload, to)
    """,
    "cogment.prehook.PrehookSession": """
        get_trial_id(self)
        get_user_id(self)
    """,
    "cogment.datalog.DatalogSession": """
        start(self)
        generator all_samples(self)
    """,
    "cogment.endpoints.Endpoint": """
        __init__(self, url="cogment://discover")
    """,
    "cogment.endpoints.ServedEndpoint": """
        __init__(self, port=0)
    """,
    "cogment.session.RecvReward": """
        get_nb_sources(self)
        iterator all_sources(self)
    """,
    "cogment.parameters.TrialParameters": """
        __init__(self, cog_settings, **kwargs)
        has_specs(self)
        get_serialization_type(self)
        serialize(self)
        deserialize(self, raw_string, type=None)
    """,
    "cogment.parameters.ActorParameters": """
        __init__(self, cog_settings, class_name, **kwargs)
        has_specs(self)
    """,
    "cogment.datalog.LogSample": """
        __init__(self, params)
        get_serialization_type(self)
        serialize(self)
        deserialize(self, raw_string)
        iterator all_actor_names(self)
        get_action(self, actor)
        get_observation(self, actor)
        iterator all_rewards(self)
        iterator all_messages(self)
    """,
}  # fmt: skip

FUNCTIONS = {"cogment.utils.make_logger": "make_logger(name, env_name=None, default_level='INFO')"}


class Documented(NamedTuple):
    """One documented method."""

    class_path: str
    kind: str
    name: str
    arguments: ast.arguments

    def __str__(self) -> str:
        return f"{self.class_path.rpartition('.')[2]}.{self.name}"


def parse(class_path: str, line: str) -> Documented:
    """The documented method that ``line`` writes."""
    words = line.split(" ", 1)
    kind, text = words if words[0] in {"async", "generator", "iterator"} else ("", line)
    function = ast.parse(f"def {text}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    return Documented(class_path, kind, function.name, function.args)


def documented_methods() -> Iterator[Documented]:
    """All of `METHODS`."""
    for class_path, text in METHODS.items():
        for line in text.strip().splitlines():
            yield parse(class_path, line.strip())


def find(path: str) -> Any:
    """What the dotted ``path`` names."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def same_default(documented: ast.expr, actual: object) -> bool:
    """Whether a parameter left out means what is documented.

    Defaults are never mutable here: an empty list, an ``Endpoint()`` or the global registry may be stood for by ``()``,
    None or a sentinel.
    """
    if isinstance(documented, (ast.List, ast.Dict)):
        return actual is None or actual == ()
    if isinstance(documented, ast.Call):
        return actual is None
    if isinstance(documented, ast.Name):
        return actual is not inspect.Parameter.empty
    value = ast.literal_eval(documented)
    return type(actual) is type(value) and actual == value


def assert_same_parameters(documented: ast.arguments, signature: inspect.Signature) -> None:
    """Assert that every call that the reference allows is allowed, and means the same."""
    actual = list(signature.parameters.values())
    names = [argument.arg for argument in documented.args]
    assert [parameter.name for parameter in actual[: len(names)]] == names
    defaults = [None] * (len(names) - len(documented.defaults)) + list(documented.defaults)
    for parameter, default in zip(actual, defaults, strict=False):
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD, parameter
        assert default is None or same_default(default, parameter.default), parameter
    takes_keywords = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in actual)
    assert takes_keywords or documented.kwarg is None
    for extra in actual[len(names) :]:
        optional = extra.kind is inspect.Parameter.VAR_KEYWORD or extra.default is not inspect.Parameter.empty
        assert optional, f"the undocumented {extra} has to be optional"


@pytest.mark.parametrize("method", [*documented_methods()], ids=str)
def test_method_has_the_documented_parameters(method: Documented) -> None:
    """Each documented method exists, with the documented parameters by name, order and default."""
    function = inspect.getattr_static(find(method.class_path), method.name)
    assert_same_parameters(method.arguments, inspect.signature(function))


@pytest.mark.parametrize("method", [*documented_methods()], ids=str)
def test_method_is_of_the_documented_kind(method: Documented) -> None:
    """A documented coroutine can be awaited, a documented generator iterated over, and the rest is plain."""
    function = getattr(find(method.class_path), method.name)
    is_coroutine = inspect.iscoroutinefunction(function)
    is_async_generator = inspect.isasyncgenfunction(function)
    if method.kind == "async" and not is_coroutine:
        # The factories of clients: awaiting the result is allowed, and not needed.
        # Their packages are imported when a client is made.
        packages = {
            name: import_module(name) for name in ("cogment_controller", "cogment_datastore", "cogment_model_registry")
        }
        assert issubclass(get_type_hints(function, localns=packages)["return"], Awaitable)
    elif method.kind == "async":
        assert is_coroutine
    elif method.kind == "generator":
        assert is_async_generator
    else:
        assert not is_coroutine
        assert not is_async_generator


@pytest.mark.parametrize("path", FUNCTIONS)
def test_function_has_the_documented_parameters(path: str) -> None:
    """Each documented function exists, with the documented parameters by name, order and default."""
    assert_same_parameters(parse("", FUNCTIONS[path]).arguments, inspect.signature(find(path)))


@pytest.mark.parametrize(
    ("reference", "ours"),
    [
        ("f(a, b)", "f(b, a)"),
        ("f(a, b=1)", "f(a, b)"),
        ("f(a, b=1)", "f(a, b=2)"),
        ("f(a, b=1)", "f(a, b=True)"),
        ("f(a)", "f(a, b)"),
        ("f(a)", "f(*, a)"),
        ("f(a)", "f()"),
        ("f(a=[])", "f(a=1)"),
        ("f(**kwargs)", "f(a=1)"),
    ],
)
def test_a_changed_signature_is_noticed(reference: str, ours: str) -> None:
    """The comparison fails for parameters that are renamed, moved, missing, keyword-only or of another default."""
    scope: dict[str, Any] = {}
    exec(f"def {ours}: ...", scope)
    with pytest.raises(AssertionError):
        assert_same_parameters(parse("", reference).arguments, inspect.signature(scope["f"]))
