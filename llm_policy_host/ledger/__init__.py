"""The ledger: events, their rules, and what is folded from them; it knows no database and does no I/O."""
