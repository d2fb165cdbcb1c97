"""Other gateways' configs as ours, and what of them has no place here."""
