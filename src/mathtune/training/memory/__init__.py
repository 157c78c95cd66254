"""What happens when memory runs out, and how the C library keeps it."""
