"""Models: their files, the hub, loading, adapters, merging, and the device they run on."""
