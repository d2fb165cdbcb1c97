"""Cases of policies: what an operator writes down that a policy must do, and how it is tried."""
