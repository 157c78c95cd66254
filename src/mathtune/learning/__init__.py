"""Learning from graded answers of a model, its own or a stronger one's."""
