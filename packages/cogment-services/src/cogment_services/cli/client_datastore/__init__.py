"""``cogment client trial_datastore``: what its commands do.

`commands` has the options; everything else is imported when a command runs.
"""
