"""Scripts that answer lines on one runtime, each a process of its own: MODULE INPUT OUTPUT."""
