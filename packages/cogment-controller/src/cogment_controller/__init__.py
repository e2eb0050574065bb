"""Start, watch and end Cogment trials."""
