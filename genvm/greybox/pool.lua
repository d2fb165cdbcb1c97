-- The pool of a call: the candidates that GenVM allows for it (spec 4.2).

local catalogs = require("greybox.catalog")
local natives = require("greybox.natives")

local type = type

local function has_images(prompt)
  return type(prompt.images) == "table" and #prompt.images > 0
end

--- What the pair itself says, for a GenVM without a selection of its own.
local function is_able(pair, call)
  return (call.format == "text" or pair.supports_json) and (not has_images(call.prompt) or pair.supports_image)
end

--- Whether GenVM allows a pair for a call; its selection's tables are shared and only read.
local function is_allowed(selection, pair, call)
  if type(selection) ~= "table" then
    return is_able(pair, call)
  end
  local provider = selection[pair.backend]
  local models = type(provider) == "table" and provider.models
  return type(models) == "table" and models[pair.model] ~= nil
end

--- The candidates that GenVM allows for a call, in canonical order.
local function make(world, call)
  local select = natives.optional(world.natives.lib, "select_providers_for")
  local selection = select and select(call.prompt, call.format)
  local out = {}
  for i = 1, #world.candidates do
    local candidate = world.candidates[i]
    local pair = world.pairs[catalogs.key(candidate.provider_id, candidate.served_model_id)]
    if is_allowed(selection, pair, call) then
      out[#out + 1] = candidate
    end
  end
  return out
end

local function needs_of(call)
  local out = {}
  if has_images(call.prompt) then
    out[#out + 1] = "vision"
  end
  if call.format == "json" then
    out[#out + 1] = "json_mode"
  end
  return out
end

--- How many of the pool the coming plan can name.
local function count(call)
  if not call.plan.chain then
    return #call.pool
  end
  local n = 0
  for i = 1, #call.pool do
    n = n + (call.plan.chain[catalogs.key(call.pool[i].provider_id, call.pool[i].model_family)] and 1 or 0)
  end
  return n
end

return { make = make, count = count, has_images = has_images, needs_of = needs_of }
