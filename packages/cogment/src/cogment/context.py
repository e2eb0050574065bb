"""The Context, with the clients of all services."""

from __future__ import annotations

import cogment_controller
import cogment_core.context
from cogment_core.endpoints import Endpoint

__all__ = ["Context"]


class Context(cogment_core.context.Context):
    """Everything that one user of Cogment does in one event loop: serving, joining and controlling trials.

    See `cogment_core.context.Context` for its arguments, for serving and for joining.
    """

    def get_controller(self, endpoint: Endpoint | None = None) -> cogment_controller.Controller:
        """Get the Controller of an Orchestrator. The result can be awaited, and need not be.

        Args:
            endpoint: The Orchestrator; by default the one that the Directory knows.
        """
        return cogment_controller.connect(self, endpoint or Endpoint())
