-- What the surrounding GenVM offers, found by looking: no name is taken for granted, since generations
-- differ (spec 4.1).

local type, pcall, require, rawget = type, pcall, require, rawget

local function library(name)
  local ok, found = pcall(require, name)
  return ok and type(found) == "table" and found or {}
end

--- The natives of this VM.
---@return table natives {llm, base, lib}: the model module's functions, the general ones, and `lib-llm`
local function find()
  local lib = library("lib-llm")
  return {
    llm = rawget(_G, "__llm") or lib.rs or {},
    base = rawget(_G, "__dflt") or library("lib-genvm").rs or {},
    lib = lib,
  }
end

--- The function of that name, or nothing.
local function optional(module, name)
  local fn = module[name]
  return type(fn) == "function" and fn or nil
end

return { find = find, optional = optional }
