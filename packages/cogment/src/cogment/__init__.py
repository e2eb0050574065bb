"""The Cogment Python SDK: trials in which AI agents and people act together."""
