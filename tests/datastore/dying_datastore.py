"""A Trial Datastore in a process of its own, with one trial that never ends. It prints its port."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from cogment_core.api import common_pb2, trial_datastore_pb2, trial_datastore_pb2_grpc


class EndlessTrial(trial_datastore_pb2_grpc.TrialDatastoreSPServicer):
    """Has a trial ``t``, whose samples come for ever."""

    async def RetrieveTrials(self, request: Any, context: Any) -> trial_datastore_pb2.RetrieveTrialsReply:
        if request.trial_handle:
            return trial_datastore_pb2.RetrieveTrialsReply()
        info = trial_datastore_pb2.StoredTrialInfo(trial_id="t", last_state=common_pb2.RUNNING)
        return trial_datastore_pb2.RetrieveTrialsReply(trial_infos=[info], next_trial_handle="1")

    async def RetrieveSamples(
        self, request: Any, context: Any
    ) -> AsyncIterator[trial_datastore_pb2.RetrieveSampleReply]:
        for tick in itertools.count():
            sample = trial_datastore_pb2.StoredTrialSample(trial_id="t", tick_id=tick, state=common_pb2.RUNNING)
            yield trial_datastore_pb2.RetrieveSampleReply(trial_sample=sample)
            await asyncio.sleep(0.01)


async def main() -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    trial_datastore_pb2_grpc.add_TrialDatastoreSPServicer_to_server(EndlessTrial(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
