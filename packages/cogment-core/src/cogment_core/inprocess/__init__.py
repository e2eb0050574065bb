"""The in-process transport: stubs and servicers of gRPC, connected in memory.

The same stubs and the same servicers work as over ``grpc.aio``, with its calls, contexts, status codes, deadlines and
cancellation, but without a port and without serializing anything.

Messages are handed over as they are. So **a message belongs to its receiver, and to nobody else, once it is sent**: the
sender must not modify it afterwards, and a receiver must not modify it either unless it knows that it is the only one,
because the same message may have been sent to several.

A call can be used in two ways, and each of its ends in its own way:

* *pull*: ``read``, ``write`` and iteration, as with ``grpc.aio``. A writer waits while `QUEUE_LIMIT` messages wait for
  the reader.
* *push*: ``duplex()``, a `cogment_core.duplex.Duplex`: what is sent to an end that receives is a call of its callback.
"""

from __future__ import annotations

from cogment_core.inprocess.channel import InProcessChannel
from cogment_core.inprocess.context import InProcessServicerContext
from cogment_core.inprocess.endpoint import InProcessEndpoint
from cogment_core.inprocess.inbox import QUEUE_LIMIT
from cogment_core.inprocess.server import InProcessServer

__all__ = ["QUEUE_LIMIT", "InProcessChannel", "InProcessEndpoint", "InProcessServer", "InProcessServicerContext"]
