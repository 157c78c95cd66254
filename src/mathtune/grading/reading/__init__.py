"""What a text says in the place of an answer: a number, or something else."""
