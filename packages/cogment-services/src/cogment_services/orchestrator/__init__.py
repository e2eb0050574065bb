"""The Orchestrator: runs trials between environments and actors."""

from cogment_services.orchestrator.orchestrator import Orchestrator

__all__ = ["Orchestrator"]
