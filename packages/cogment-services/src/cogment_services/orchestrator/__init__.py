"""The Orchestrator: runs trials between environments and actors."""
