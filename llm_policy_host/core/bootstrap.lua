-- Prepares a fresh runtime: the bridge to Python is cut, the core is loaded from given sources,
-- and what reaches the machine is taken away. Everything here runs before any foreign data.
local sources = ...

local load_text = loadstring or load -- luacheck: ignore 113
local error = error

local loaded = package and package.loaded or {}
python = nil -- luacheck: ignore 111
loaded.python = nil
if package then
  package.path, package.cpath = "", ""
  if package.preload then
    package.preload.python = nil
  end
end

local own = {}
local own_require
own_require = function(name)
  if own[name] ~= nil then
    return own[name]
  end
  local source = sources[name]
  if source == nil then
    error("module `" .. name .. "` does not exist here", 2)
  end
  local chunk, reason = load_text(source, "@" .. name)
  if not chunk then
    error(reason, 0)
  end
  local value = chunk(name)
  own[name] = value == nil and true or value
  return own[name]
end
require = own_require -- luacheck: ignore 121

local face = own_require("llm_policy")

local REMOVED = {
  "io",
  "os",
  "package",
  "debug",
  "load",
  "loadstring",
  "loadfile",
  "dofile",
  "collectgarbage",
  "coroutine",
  "getmetatable",
  "getfenv",
  "setfenv",
  "newproxy",
  "ffi",
  "jit",
  "bit",
  "module",
  "python",
  "print",
}
local kept = { sethook = debug.sethook, getmetatable = debug.getmetatable, load = load_text }
for index = 1, #REMOVED do
  _G[REMOVED[index]] = nil -- luacheck: ignore 122
end
string.dump = nil -- luacheck: ignore 122 142

return face, kept
