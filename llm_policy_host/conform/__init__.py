"""Proof that a runtime, or another implementation, decides as the cases say."""
