"""Predictions files: their rows, how long they took, and how several ranks write one."""
