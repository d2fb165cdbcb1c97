"""Questions about policies that need no call: what differs, and whether one stays inside another."""
