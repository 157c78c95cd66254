"""A second model that says how likely an answer is right, and re-ranks samples by it."""
