"""The web page of ``mathtune ui``: run folders to look at, models to try, trainings to start.

It reads run folders, and starts everything that takes long as a process of its own, so that a
closed page or server ends no training. It listens on this machine's loopback address only.
"""
