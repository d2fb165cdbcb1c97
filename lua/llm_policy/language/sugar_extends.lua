-- Inheritance of profiles: `extends` takes the parent's keys under the child's (spec 1.8).

local reports = require("llm_policy.language.report")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at_key = vocabularies.at
local type, rawget = type, rawget

local function is_record(value)
  return type(value) == "table" and tables.dense(value) == nil
end

--- The entries of one table over those of another.
local function over(above, own)
  local out, keys = tables.copy(above), tables.keys(own)
  for i = 1, #keys do
    out[keys[i]] = rawget(own, keys[i])
  end
  return out
end

--- The child's keys over the parent's; records that both have are merged one level.
local function merged(parent, child)
  local out, keys = over(parent, child), tables.keys(child)
  for i = 1, #keys do
    local above, own = rawget(parent, keys[i]), rawget(child, keys[i])
    if is_record(own) and is_record(above) then
      out[keys[i]] = over(above, own)
    end
  end
  return out
end

local function parent_of(profiles, name)
  return at_key(at_key(profiles, name), "extends")
end

--- Whether the parents of a profile come round to it.
local function leads_back(profiles, name)
  local seen, parent = {}, parent_of(profiles, name)
  while parent ~= nil and parent ~= name and not seen[parent] do
    seen[parent] = true
    parent = parent_of(profiles, parent)
  end
  return parent == name
end

--- The mistake of an `extends` that leads nowhere, or back.
local function broken(profiles, child, parent)
  local report, at = reports.new(), { child, "extends" }
  if type(at_key(profiles, parent)) == "table" then
    reports.add(report, at, "the profile inherits from itself")
  else
    reports.add_unknown(report, at, "profile", parent, tables.keys(profiles))
  end
  return nil, report.errors[1]
end

--- A profile with what it inherits; the tables given stay as they are.
---@param profiles table name -> profile
---@return table|nil profile without `extends`
---@return table|nil error {path, at, detail, nearest}, a place within the profiles
local function resolve(profiles, name)
  local lineage, seen, child = {}, {}, name
  while name ~= nil do
    if seen[name] or type(at_key(profiles, name)) ~= "table" then
      return broken(profiles, child, name)
    end
    seen[name], child = true, name
    lineage[#lineage + 1] = profiles[name]
    name = parent_of(profiles, name)
  end
  local out = {}
  for i = #lineage, 1, -1 do
    out = merged(out, lineage[i])
  end
  out.extends = nil
  return out
end

return { resolve = resolve, leads_back = leads_back }
