"""The Lua core, embedded: the only package that knows lupa."""
