"""The language server: what editors are told of configs and policies."""
