"""Estimate a training's memory and time before anything is downloaded, and what would help."""
