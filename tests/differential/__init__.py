"""The core against the oracle, and against itself on every runtime."""
