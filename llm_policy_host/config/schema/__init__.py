"""The JSON Schema of a config, made from the rows by which the core and the host check one."""
