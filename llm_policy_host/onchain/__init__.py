"""What a validator can show of its policy: commitments, decisions derived again, simulated validators."""
