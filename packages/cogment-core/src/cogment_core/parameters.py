"""The parameters of a trial and of its actors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message

from cogment_core.actor_parameters import ActorParameters, ActorParametersList
from cogment_core.api import common_pb2
from cogment_core.checks import as_bytes, as_text, as_whole, wrong
from cogment_core.errors import DecodeError, SpecsError, UsageError
from cogment_core.fields import Field, Fields, MapField, PayloadField, ScalarField, SerializedField, TextsField
from cogment_core.specs import CogSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from cogment_core.parameter_keywords import ActorKeywords, TrialKeywords

__all__ = ["ActorParameters", "ActorParametersList", "TrialParameters"]

_AS_UINT32 = as_whole(0, 2**32 - 1)
_AS_INT64 = as_whole(-(2**63), 2**63 - 1)


class _ActorsField(Field[ActorParametersList, "Iterable[ActorParameters]"]):
    def read(self, holder: Fields[Any]) -> ActorParametersList:
        return cast("TrialParameters", holder)._actors  # pyright: ignore[reportPrivateUsage]

    def write(self, holder: Fields[Any], value: Iterable[ActorParameters]) -> None:
        if not isinstance(cast("object", value), Iterable):
            raise wrong("actors", "a list of ActorParameters", value)
        self.read(holder)[:] = value


class TrialParameters(Fields[common_pb2.TrialParams]):
    """The parameters of a trial.

    Attributes can be set to None to reset them to their default. ``config`` and ``environment_config`` are copies: to
    change them, assign them anew.

    Args:
        cog_settings: The specs, None if they are not known.
        **kwargs: Values of attributes.

    Raises:
        UsageError: A value is wrong, or there is no such attribute.
        SpecsError: A config is given, and the specs have no type for it.
    """

    config = PayloadField("trial_config", lambda trial: cast("TrialParameters", trial)._config_type("trial"))
    """Config of the trial, of the ``trial:config_type`` of the specs; None if there is none."""
    config_serialized = SerializedField("trial_config")
    """The trial's config in serialized form; available without specs."""
    properties = MapField("properties")
    """Free texts by name, that tell trials apart; live."""
    max_steps = ScalarField("max_steps", _AS_UINT32)
    """Number of ticks after which the trial is ended; 0 for no limit."""
    max_inactivity = ScalarField("max_inactivity", _AS_UINT32)
    """Seconds without activity after which the trial is ended; 0 for no limit."""
    nb_buffered_ticks = ScalarField("nb_buffered_ticks", _AS_INT64)
    """Number of ticks for which samples are held back, so that late rewards still get in; at least 2 are."""
    datalog_endpoint = ScalarField("datalog.endpoint", as_text)
    """Where samples are sent: an endpoint URL; empty for nowhere."""
    datalog_exclude_fields = TextsField("datalog.exclude_fields")
    """Fields to leave out of the samples: ``info``, ``observations``, ``actions``, ``rewards``, ``messages``..."""
    environment_config = PayloadField(
        "environment.config", lambda trial: cast("TrialParameters", trial)._config_type("environment")
    )
    """Config for the environment, of the ``environment:config_type`` of the specs; None if there is none."""
    environment_config_serialized = SerializedField("environment.config")
    """The environment's config in serialized form; available without specs."""
    environment_serialized = SerializedField("environment.config")
    """The same as `environment_config_serialized`."""
    environment_name = ScalarField("environment.name", as_text)
    """Name of the environment; empty for ``env``."""
    environment_endpoint = ScalarField("environment.endpoint", as_text)
    """Where the environment is: an endpoint URL; empty to ask the Directory."""
    environment_implementation = ScalarField("environment.implementation", as_text)
    """Which of the implementations there to use; empty for any."""
    actors = _ActorsField("actors")
    """The actors' parameters: a live list, also by name of the actor."""

    def __init__(self, cog_settings: CogSettings | None, **kwargs: Unpack[TrialKeywords]) -> None:
        self._bind(cog_settings, common_pb2.TrialParams())
        self._assign(cast("Mapping[str, Any]", kwargs))

    def _bind(self, cog_settings: CogSettings | None, proto: common_pb2.TrialParams) -> None:
        super()._bind(cog_settings, proto)
        self._actors = ActorParametersList(cog_settings, proto)

    def new_actor(self, class_name: str, **kwargs: Unpack[ActorKeywords]) -> ActorParameters:
        """Parameters of an actor, with these parameters' specs; they still have to be put into ``actors``."""
        return ActorParameters(self._settings, class_name, **kwargs)

    def get_serialization_type(self) -> int:
        """The kind of data that `serialize` makes and `deserialize` takes."""
        return 3

    def serialize(self) -> bytes:
        """The parameters as bytes; equal parameters make equal bytes."""
        return self._proto.SerializeToString(deterministic=True)

    def deserialize(self, raw_string: bytes, type: int | None = None) -> None:
        """Replace all parameters by serialized ones.

        Args:
            raw_string: What `serialize` made.
            type: What `get_serialization_type` of the source says; None for the same as here.

        Raises:
            UsageError: ``type`` is another.
            DecodeError: The data cannot be read; the parameters are as before.
        """
        if type is not None and type != self.get_serialization_type():
            raise UsageError(f"parameters of serialization type {type!r} cannot be read: it has to be 3")
        content = as_bytes("raw_string", raw_string)
        try:
            self._proto.CopyFrom(common_pb2.TrialParams.FromString(content))
        except ProtobufDecodeError as error:
            raise DecodeError(f"{len(content)} bytes cannot be read as trial parameters: {error}") from error

    def _config_type(self, section: str) -> type[Message] | None:
        if self._settings is None:
            return None
        config_type = (self._settings.trial if section == "trial" else self._settings.environment).config_type
        if config_type is None:
            raise SpecsError(f"the specs have no {section}:config_type, so there can be no config")
        return config_type
