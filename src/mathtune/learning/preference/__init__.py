"""Preference learning on right and wrong answers to the same problem."""
