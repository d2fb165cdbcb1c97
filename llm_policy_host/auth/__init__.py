"""Credentials, resolved at the one place that calls a provider."""
