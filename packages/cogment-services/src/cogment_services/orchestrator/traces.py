"""OpenTelemetry traces of trials: a span for each trial, in it one for each tick, in these one for each action.

A tick's span lasts from the observations of the environment to the actions for it, an action's from the observations to
the action. What is in observations and actions, and what users write into parameters, is not traced.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogment_core.api.common_pb2 import ENDED, TrialState
from cogment_services.orchestrator.observer import Loss, TrialObserver

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer, TracerProvider
    from opentelemetry.util.types import Attributes

__all__ = ["TrialTraces"]


class TrialTraces:
    """Traces trials. Which of them is up to the sampler of the provider: what it leaves out costs next to nothing.

    Args:
        provider: Where the spans go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("cogment.orchestrator")

    def trial(self, trial_id: str) -> TrialObserver | None:
        """What is to watch a new trial; None if that is not traced."""
        from opentelemetry.context import Context

        # Not a part of what is going on here by chance, for example a request to start the trial.
        span = self._tracer.start_span("trial", Context(), attributes={"cogment.trial_id": trial_id})
        return _TracedTrial(self._tracer, span) if span.is_recording() else None


class _TracedTrial(TrialObserver):
    """One trial's spans.

    Args:
        tracer: Makes spans.
        span: That of the trial.
    """

    __slots__ = ("_actor_classes", "_in_tick", "_in_trial", "_observed", "_span", "_tick", "_tracer")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        from opentelemetry.trace import set_span_in_context

        self._tracer = tracer
        self._span = span
        self._in_trial = set_span_in_context(span)
        self._actor_classes: Sequence[str] = ()
        self._tick: Span | None = None
        self._in_tick: Context | None = None
        self._observed = 0

    def entered(self, state: TrialState.ValueType, reason: str = "") -> None:
        """See `TrialObserver.entered`."""
        name = TrialState.Name(state)
        self._span.add_event(name)
        self._span.set_attribute("cogment.trial.state", name)
        if state == ENDED:
            self._end_tick()
            self._end(reason)

    def began(self, actor_classes: Sequence[str]) -> None:
        """See `TrialObserver.began`."""
        self._actor_classes = actor_classes
        self._span.set_attribute("cogment.trial.actors", len(actor_classes))

    def observed(self, tick: int, observations: Sequence[bytes]) -> None:
        """See `TrialObserver.observed`."""
        from opentelemetry.trace import set_span_in_context

        self._end_tick()
        self._observed = time.time_ns()
        self._tick = self._tracer.start_span(
            "tick", self._in_trial, attributes={"cogment.tick_id": tick}, start_time=self._observed
        )
        self._in_tick = set_span_in_context(self._tick)

    def acted(self, index: int) -> None:
        """See `TrialObserver.acted`."""
        attributes: Attributes = {"cogment.actor.index": index, "cogment.actor.class": self._actor_classes[index]}
        response = self._tracer.start_span(
            "actor response", self._in_tick, attributes=attributes, start_time=self._observed
        )
        response.end()

    def answered(self, actions: Sequence[bytes], *, last: bool) -> None:
        """See `TrialObserver.answered`."""
        self._end_tick()

    def lost(self, index: int | None, loss: Loss) -> None:
        """See `TrialObserver.lost`."""
        who: dict[str, str | int] = {"cogment.participant": "environment" if index is None else "actor"}
        if index is not None:
            who["cogment.actor.index"] = index
        self._span.add_event("participant lost", {**who, "cogment.cause": loss.value})

    def _end_tick(self) -> None:
        tick, self._tick = self._tick, None
        if tick is not None:
            tick.end()

    def _end(self, reason: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        if reason:
            self._span.set_attribute("cogment.trial.end_reason", reason)
            self._span.set_status(Status(StatusCode.ERROR, reason))
        self._span.end()
