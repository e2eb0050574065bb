"""The Cogment servers and the cogment command: Orchestrator, Trial Datastore, Model Registry, Directory."""
