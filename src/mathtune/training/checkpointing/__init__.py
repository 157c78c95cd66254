"""Checkpoints that are whole or not there: where, when, and under FSDP."""
