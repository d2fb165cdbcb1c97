"""Policies of one intent, and how differently they decide."""
