"""Cross-entropy at supervised positions only."""
