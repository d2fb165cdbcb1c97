"""The operator's config: read, checked and placed; the only package that reads the environment."""
