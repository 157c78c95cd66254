"""Engine and grader → rows → figures: evaluation, perplexity, statistics and comparison."""
