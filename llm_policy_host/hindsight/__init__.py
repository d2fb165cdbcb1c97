"""Decisions that a ledger holds, made again: as they were, or by another policy (spec 5.3)."""
