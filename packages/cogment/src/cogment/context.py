"""The Context, with the clients of all services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cogment_core.context
from cogment_core.endpoints import Endpoint

if TYPE_CHECKING:
    import cogment_controller
    import cogment_datastore
    import cogment_model_registry

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

    def get_datastore(self, endpoint: Endpoint | None = None) -> cogment_datastore.Datastore:
        """Get the client of a Trial Datastore. The result can be awaited, and need not be.

        Args:
            endpoint: The Trial Datastore; by default the one that the Directory knows.
        """
        import cogment_datastore

        return cogment_datastore.connect(self, endpoint or Endpoint())

    def get_model_registry_v2(self, endpoint: Endpoint | None = None) -> cogment_model_registry.ModelRegistry:
        """Get the client of a Model Registry. The result can be awaited, and need not be.

        Args:
            endpoint: The Model Registry; by default the one that the Directory knows.
        """
        import cogment_model_registry

        return cogment_model_registry.connect(self, endpoint or Endpoint())
