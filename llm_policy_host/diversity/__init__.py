"""Many policies from one intent, and how differently they decide."""
