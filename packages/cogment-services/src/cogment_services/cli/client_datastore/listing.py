"""``list_trials`` and ``delete_trials``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import click
from google.protobuf.json_format import MessageToJson

from cogment_core.api.common_pb2 import TrialState
from cogment_core.api.trial_datastore_pb2 import RetrieveTrialsReply, RetrieveTrialsRequest, StoredTrialInfo
from cogment_services.cli.client_datastore.store import Place, open_store
from cogment_services.cli.client_options import ClientOptions
from cogment_services.cli.properties import format_properties
from cogment_services.cli.results import note, tell
from cogment_services.cli.terminal import count_of, one_line, table

__all__ = ["delete_trials", "list_trials"]

_TITLES = ("trial id", "user id", "state", "samples", "actors", "properties")


async def list_trials(
    place: Place, options: ClientOptions, *, count: int, handle: str, properties: dict[str, str]
) -> None:
    """Show one page of trials."""
    async with open_store(place, options.timeout) as store:
        request = RetrieveTrialsRequest(trials_count=count, trial_handle=handle, properties=properties)
        reply = await store.page(request)
    if options.as_json:
        click.echo(MessageToJson(reply, indent=None))
        return
    click.echo(table(_TITLES, map(_row, reply.trial_infos)))
    click.echo(_caption(reply, handle))


def _row(info: StoredTrialInfo) -> tuple[str, ...]:
    return (
        info.trial_id,
        info.user_id,
        state_name(info.last_state),
        str(info.samples_count),
        str(len(info.params.actors)),
        format_properties(info.params.properties),
    )


def state_name(state: int) -> str:
    """The name of a state; its number, if this version does not know it."""
    return TrialState.Name(state) if state in TrialState.values() else str(state)  # type: ignore[arg-type]


def _caption(reply: RetrieveTrialsReply, handle: str) -> str:
    start = f" from {handle}" if handle else ""
    found = count_of(len(reply.trial_infos), "trial")
    others = "the next ones" if reply.trial_infos else "those to come"
    return one_line(f"{found}{start}; {others} are --from={reply.next_trial_handle}")


async def delete_trials(place: Place, options: ClientOptions, trial_ids: Sequence[str]) -> None:
    """Delete trials with their samples. Those that are not there are named, and do no harm."""
    async with open_store(place, options.timeout) as store:
        async with aclosing(store.trials(list(dict.fromkeys(trial_ids)), {})) as infos:
            found = [info.trial_id async for info in infos]
        if found:
            await store.delete(found)
    missing = [trial_id for trial_id in trial_ids if trial_id not in found]
    if missing:
        note(f"the datastore has no trial: {', '.join(missing)}")
    tell(options.as_json, f"{count_of(len(found), 'trial')} deleted", trial_ids=found)
