"""``cogment client model_registry``: ``commands`` are the options, ``actions`` is what they do."""
