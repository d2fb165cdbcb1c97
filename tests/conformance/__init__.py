"""Conformance cases as data, and what replays them."""
