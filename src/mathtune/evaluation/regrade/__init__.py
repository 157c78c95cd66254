"""Other people's saved outputs: recognised, read and graded without a model."""
