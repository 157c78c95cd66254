"""Which columns of a data row hold question, solution and final answer, and how they are read."""
