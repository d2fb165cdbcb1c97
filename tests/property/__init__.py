"""Properties over generated cases."""
