"""A process with components of trials; it tells what they see, one JSON object per line of its output.

``python -m harness.component '{"name": "…", "serve": ["environment", "actor", "datalog"]}'``. Each line of its input
is a JSON object, too: a trial to join. The end of its input ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import sys
import time
from typing import Any

from google.protobuf.wrappers_pb2 import BytesValue

import cogment
from harness.scaled import quicken
from harness.specs import ACTOR_CLASS, DEFAULT_ACTION, SETTINGS, ActorPlan, EnvironmentPlan, Plan


def tell(event: str, **data: Any) -> None:
    """Write what happened, and when by the clock that all processes of this machine share."""
    print(json.dumps({"event": event, "at": time.monotonic(), **data}), flush=True)


class Seen:
    """What one participant sees of one trial."""

    def __init__(self, session: Any, plan: Plan) -> None:
        self._session = session
        self._plan = plan
        self._who = {"trial": session.get_trial_id(), "who": session.name}
        self._last = -1
        self._finals = 0
        self._in_order = True
        self._before = time.monotonic()
        self._gap = 0.0
        self.count = 0
        self.tell("started")

    def tell(self, event: str, **data: Any) -> None:
        tell(event, **self._who, **data)

    def tick(self, tick: int, **data: Any) -> None:
        """There is news for ``tick``."""
        now = time.monotonic()
        self._gap, self._before = max(self._gap, now - self._before), now
        self._in_order = self._in_order and tick == self._last + 1
        self._last = tick
        self.count += 1
        if tick % self._plan.report == 0:
            self.tell("tick", tick=tick, **data)
        if tick == self._plan.block_at:
            time.sleep(self._plan.block_for)

    def final(self) -> None:
        self._finals += 1

    def left(self) -> None:
        """The participant is done."""
        over, reason = self._session.is_trial_over(), self._session.end_reason
        self.tell(
            "left",
            over=over,
            reason=reason,
            finals=self._finals,
            last=self._last,
            count=self.count,
            in_order=self._in_order,
            gap=self._gap,
        )


async def environment(session: cogment.environment.EnvironmentSession) -> None:
    """Observe, again and again."""
    plan = EnvironmentPlan.of(session.config)
    seen = Seen(session, plan)
    if plan.hold:
        await asyncio.Event().wait()
    observations = [("*", BytesValue(value=b"o" * plan.size))]
    session.start(observations)
    fates: list[str] = []
    async for event in session.all_events():
        if event.type is cogment.EventType.FINAL:
            seen.final()
        if not event.actions:
            continue
        seen.tick(event.actions[0].tick_id, values=[_value(action) for action in event.actions])
        if fates != (fates := [_fate(action) for action in event.actions]):
            seen.tell("actions", tick=event.actions[0].tick_id, fates=fates)
        if event.type is cogment.EventType.ENDING or seen.count == plan.steps:
            session.end(observations)
        else:
            await asyncio.sleep(plan.period)
            if not session.is_trial_over() and session.end_reason is None:
                session.produce_observations(observations)
    seen.left()


def _value(action: Any) -> str:
    return "" if action.action is None else action.action.value.decode()


def _fate(action: Any) -> str:
    if action.status is not cogment.ActorStatus.ACTIVE:
        return action.status.name
    return "DEFAULT" if action.action.value == DEFAULT_ACTION else "ACTED"


async def actor(session: cogment.actor.ActorSession) -> None:
    """Answer each observation."""
    plan = ActorPlan.of(session.config)
    seen = Seen(session, plan)
    if plan.hold:
        await asyncio.Event().wait()
    session.start()
    async for event in session.all_events():
        if event.type is cogment.EventType.FINAL:
            seen.final()
        elif event.observation is not None:
            seen.tick(event.observation.tick_id)
            if plan.looks:
                seen.tell("looked", value=event.observation.observation.value.decode())
            if plan.acts and event.type is cogment.EventType.ACTIVE:
                session.do_action(BytesValue(value=b"acted"))
    seen.left()


async def datalog(session: cogment.datalog.DatalogSession) -> None:
    """Tell of the samples in which something happened."""
    session.start()
    trial = session.trial_id
    count, in_order, state, fates = 0, True, None, None
    async for sample in session.all_samples():
        in_order = in_order and sample.tick_id == count
        count += 1
        state = sample.state.name
        actions = [sample.get_action(name) for name in sample.all_actor_names()]
        now = [action.status.name for action in actions if action is not None]
        if now != fates or sample.events:
            tell("sample", trial=trial, tick=sample.tick_id, state=state, events=list(sample.events), fates=now)
        fates = now
    tell("logged", trial=trial, count=count, in_order=in_order, state=state)


class Component:
    """The process."""

    def __init__(self, name: str, serve: list[str], port: int = 0, pace: int = 1) -> None:
        quicken(pace)
        self._context = cogment.Context(name, SETTINGS, prometheus_registry=None)
        self._context.register_actor(actor, "player", [ACTOR_CLASS])
        self._served = bool(serve)
        self._endpoint = cogment.ServedEndpoint(port)
        self._endpoint.host = "127.0.0.1"
        self._clients: set[asyncio.Task[None]] = set()
        if "environment" in serve:
            self._context.register_environment(environment)
        if "datalog" in serve:
            self._context.register_datalog(datalog)

    async def run(self) -> None:
        """Serve, and join trials, until the end of the input."""
        reading = asyncio.create_task(self._read())
        serving = asyncio.create_task(self._serve())
        await asyncio.wait({reading, serving}, return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        for client in self._clients:
            client.cancel()
        await self._context.close()
        if not self._served:
            serving.cancel()
        await asyncio.wait({reading, serving, *self._clients}, timeout=10)
        if self._served:
            serving.result()

    async def _read(self) -> None:
        async for line in await _input():
            self._join(**json.loads(line))

    async def _serve(self) -> None:
        if not self._served:
            tell("ready", port=0)
            await asyncio.Event().wait()
        serving = asyncio.create_task(self._context.serve_all_registered(self._endpoint))
        listening = asyncio.create_task(self._context.wait_until_serving())
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            tell("ready", port=listening.result())
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)  # it fails, too, if serving has
        await serving

    def _join(self, trial: str, endpoint: str, name: str) -> None:
        task = asyncio.create_task(self._take_part(trial, endpoint, name))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _take_part(self, trial: str, endpoint: str, name: str) -> None:
        error = ""
        try:
            await self._context.join_trial(trial, cogment.Endpoint(endpoint), actor_name=name)
        except cogment.CogmentError as raised:
            error = f"{type(raised).__name__}: {raised}"
        tell("joining is over", trial=trial, who=name, error=error)


async def _input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _run(options: dict[str, Any]) -> None:
    await Component(**options).run()
    gc.collect()  # whoever was forgotten complains now
    others = asyncio.all_tasks() - {asyncio.current_task()}
    # gRPC completes the calls of a stopped server in tasks of its own.
    _, left = await asyncio.wait(others, timeout=2.0) if others else (set(), set())
    tell("done", tasks=[str(task) for task in left])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(_run(json.loads(sys.argv[1])))
