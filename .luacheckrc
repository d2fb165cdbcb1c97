-- The core is Lua 5.1 syntax on every runtime; `bench` and the overlay may know more.
std = "lua51"
max_line_length = 120
unused_args = false
files["genvm"] = { std = "lua53" }
files["tests/genvm"] = { std = "lua53" }
files["llm_policy_host/conform/lua"] = { std = "lua51+lua53" }
files["tests/lua"] = { std = "lua51+lua53" }
files["lua/llm_policy.lua"] = { read_globals = { "host" } }
