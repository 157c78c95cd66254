"""How the examples of one optimiser step are split into micro-batches, on one rank or several."""
