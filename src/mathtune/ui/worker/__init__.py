"""What runs in the page's worker processes; the server never imports it."""
