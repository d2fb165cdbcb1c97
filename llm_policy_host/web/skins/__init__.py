"""The APIs that the gateway speaks: one a file, each from body to contract and from result to body."""
