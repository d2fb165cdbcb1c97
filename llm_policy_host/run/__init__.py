"""A run, from contract to result: the only package that awaits a provider."""
