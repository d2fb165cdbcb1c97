"""Simulated runs: against the driver, and what is made of them."""
