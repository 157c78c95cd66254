"""Attention functions of our own, for training and generation; importing one imports torch."""
