"""The Context, with the clients of all services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cogment_core.context
from cogment_core.endpoints import Endpoint

if TYPE_CHECKING:
    import cogment_controller

__all__ = ["Context"]


class Context(cogment_core.context.Context):
    """Everything that one user of Cogment does in one event loop: serving, joining and controlling trials.

    See `cogment_core.context.Context` for its arguments, for serving and for joining.
    """

    # Each client is imported when it is asked for: most programs need one of them, or none.

    def get_controller(self, endpoint: Endpoint | None = None) -> cogment_controller.Controller:
        """Get the Controller of an Orchestrator. The result can be awaited, and need not be.

        Args:
            endpoint: The Orchestrator; by default the one that the Directory knows.
        """
        import cogment_controller

        return cogment_controller.connect(self, endpoint or Endpoint())
