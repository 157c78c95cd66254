"""Policy gradient on graded answers of the model in training."""
