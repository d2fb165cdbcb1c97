-- Filters: a policy names them, the host's natives apply them (spec 1.6, 4.2).
--
-- An entry of an image recipe is a flat record, so a filter of several numbers writes them with dots:
-- `{["Unsharpen.1"] = 2, ["Unsharpen.2"] = 3}`. Beside a filter of one number, `jitter` moves that
-- number by up to so much, as the call's seed has it: `{GuassianNoise = 0.02, jitter = 0.01}`.

local names = require("llm_policy.base.names")
local natives = require("greybox.natives")
local numbers = require("llm_policy.base.numbers")
local random = require("llm_policy.base.random")
local tables = require("llm_policy.base.tables")

local type, find, sub, match, tonumber, error = type, string.find, string.sub, string.match, tonumber, error

local IS_WHOLE = { JPEG = true }

local TEXT_DEFAULT = { "NFKC", "RmZeroWidth", "NormalizeWS" }

--- The recipe of a directive, or what stands for it where the policy has none.
local function recipe_of(directive, absent)
  return directive and directive.recipe or absent
end

--- A text as the filters leave it.
---@param base table the general natives
---@param directive table|nil {recipe, seed}
---@param absent table|nil the recipe where there is no directive
local function text(base, given, directive, absent)
  local apply, recipe = natives.optional(base, "filter_text"), recipe_of(directive, absent)
  if not apply or not recipe or #recipe == 0 then
    return given
  end
  return apply(given, tables.copy(recipe))
end

--- Sets a number under a key, which may have one dot: `Unsharpen.1`.
local function put(out, key, value)
  local dot = find(key, ".", 1, true)
  if not dot then
    out[key] = value
    return
  end
  local name, part = sub(key, 1, dot - 1), sub(key, dot + 1)
  out[name] = type(out[name]) == "table" and out[name] or {}
  out[name][match(part, "^%d+$") and numbers.integral(tonumber(part)) or part] = value
end

--- A number moved by up to an amplitude, never below 0; whole where the filter counts so.
local function moved(value, amplitude, key, place, seed)
  if seed and amplitude ~= 0 then
    local draw = random.stream(seed, "filter_image:" .. key .. "#" .. numbers.format(place))
    value = numbers.bound(value + numbers.bound((draw() * 2 - 1) * amplitude))
    value = value < 0 and 0.0 or value
  end
  return numbers.integral(IS_WHOLE[key] and numbers.floor(value) or value)
end

--- An entry of an image recipe as the native wants it.
local function step_of(entry, place, seed)
  if type(entry) ~= "table" then
    return entry
  end
  local out, keys = {}, tables.keys(entry)
  for i = 1, #keys do
    if keys[i] ~= "jitter" then
      put(out, keys[i], moved(entry[keys[i]], entry.jitter or 0, keys[i], place, seed))
    end
  end
  return out
end

--- The images as the filters leave them, in a list of their own.
local function images(base, given, directive)
  local apply, recipe = natives.optional(base, "filter_image"), recipe_of(directive)
  if not apply or not recipe or #recipe == 0 or type(given) ~= "table" then
    return given
  end
  local out = {}
  for i = 1, #given do
    local steps = {}
    for j = 1, #recipe do
      steps[j] = step_of(recipe[j], j, directive.seed)
    end
    out[i] = apply(given[i], steps)
  end
  return out
end

-- Before a policy decides ---------------------------------------------------------------------------

local KNOWN = {
  filter_text = { "NFC", "NFKC", "NormalizeWS", "RmZeroWidth" },
  filter_image = { "GuassianNoise", "JPEG", "Unsharpen", "jitter" },
}

local function check_name(name, operation)
  if type(name) ~= "string" or not tables.set(KNOWN[operation])[name] then
    local shown = type(name) == "string" and name or "a record"
    local nearest = names.nearest(shown, KNOWN[operation])
    local hint = nearest and ", did you mean `" .. nearest .. "`?" or ""
    error("greybox: policy: " .. operation .. ": no filter `" .. shown .. "`" .. hint, 0)
  end
end

--- The filters that an entry of a recipe names.
local function check_entry(entry, operation)
  if operation == "filter_text" or type(entry) ~= "table" then
    return check_name(entry, operation)
  end
  local keys = tables.keys(entry)
  for i = 1, #keys do
    check_name(match(keys[i], "^[^.]*"), operation)
  end
end

--- Refuses a term that names a filter which GenVM has not: it would fail every call.
local check
check = function(term)
  local operation, recipe = term[1], term[2]
  if KNOWN[operation] and type(recipe) == "table" then
    for i = 1, #recipe do
      check_entry(recipe[i], operation)
    end
    return
  end
  for i = 2, #term do
    if type(term[i]) == "table" then
      check(term[i])
    end
  end
end

return { check = check, text = text, images = images, TEXT_DEFAULT = TEXT_DEFAULT }
