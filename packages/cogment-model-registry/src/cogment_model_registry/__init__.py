"""Store, publish and track models in a Cogment Model Registry."""
