"""Checkpoints that are complete or absent: where, when, and under FSDP."""
