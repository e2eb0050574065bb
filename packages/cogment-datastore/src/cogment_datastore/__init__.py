"""Read the samples of Cogment trials from a Trial Datastore."""
