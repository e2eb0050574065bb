"""Runs trials across processes, breaks things, and collects what each participant saw."""
