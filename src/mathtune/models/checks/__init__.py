"""Checks of a model: its files before loading, its weights after."""
