"""The Orchestrator, to be run in any process and event loop."""
