-- The operator's own files beside the script: `router-overlay.lua` and `greybox-policy.lua`. Neither
-- has to be there; one that is there and wrong ends the loading.

local names = require("llm_policy.base.names")
local tables = require("llm_policy.base.tables")

local type, error, require = type, error, require
local searchpath = package.searchpath -- luacheck: ignore 143

-- What an overlay may say: key -> type, or nothing for any.
local KEYS = {
  customs = "table",
  defaults = "table",
  fields = "table",
  greybox_required = "boolean",
  models = "table",
  params = "table",
  policy = "any",
  policy_envelope = "any",
  profiles = "table",
  providers = "table",
  retry_policies = "table",
  tier_order = "table",
}

local function refuse(path, detail)
  error("greybox: " .. path .. ": " .. detail, 0)
end

--- What a file beside the script returns, or nothing where there is none.
local function returned(module)
  if not searchpath(module, package.path) then
    return nil
  end
  local value = require(module)
  return value ~= true and value or refuse(module, "the file returns nothing")
end

--- Refuses what no overlay may say.
local function check(overlay)
  local keys, has_others = tables.keys(type(overlay) == "table" and overlay or refuse("router-overlay", "no record"))
  if has_others then
    refuse("router-overlay", "a record with names as keys is wanted")
  end
  for i = 1, #keys do
    local key, wanted = keys[i], KEYS[keys[i]]
    if not wanted then
      local nearest = names.nearest(key, tables.keys(KEYS))
      refuse("router-overlay." .. key, "no such key" .. (nearest and ", did you mean `" .. nearest .. "`?" or ""))
    elseif wanted ~= "any" and type(overlay[key]) ~= wanted then
      refuse("router-overlay." .. key, "a " .. (wanted == "table" and "record" or "flag") .. " is wanted")
    end
  end
  return overlay
end

--- The overlay, with the policy of its own file in it.
---@return table overlay
local function load()
  local overlay = tables.copy(check(returned("router-overlay") or {}))
  local policy = returned("greybox-policy")
  if policy ~= nil and overlay.policy ~= nil then
    refuse("greybox-policy", "the overlay has a policy too; one of them must go")
  end
  overlay.policy = overlay.policy or policy
  return overlay
end

return { load = load, check = check }
