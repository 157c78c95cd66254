"""Experiment trackers (W&B, TensorBoard, MLflow, trackio), none of which can stop a run."""
