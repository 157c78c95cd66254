"""One module a theme; each ends with the tuple ``TEMPLATES`` of what it offers."""
