"""What a training will take before anything is downloaded: memory, time, and what would help."""
