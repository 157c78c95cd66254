"""Text that is safe to show and to keep: no secrets, nothing that a terminal would obey."""
