"""Training: the loop, its batches, loss, memory and checkpoints; all of it imports torch."""
