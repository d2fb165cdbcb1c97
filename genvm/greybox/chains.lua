-- Chains: the orders that an operator writes into the YAML as `meta.greybox` (spec 4.2).

local bytes = require("llm_policy.base.bytes")
local tables = require("llm_policy.base.tables")

--- By the model's place, lower first; then by the backend's priority, higher first; then by bytes.
local function precedes(field)
  return function(a, b)
    if a[field] ~= b[field] then
      return a[field] < b[field]
    end
    local p, q = a.priority or 0, b.priority or 0
    if p ~= q then
      return p > q
    elseif a.backend ~= b.backend then
      return bytes.less(a.backend, b.backend)
    end
    return bytes.less(a.model, b.model)
  end
end

local function placed(pairs_, field)
  local out = {}
  for i = 1, #pairs_ do
    if pairs_[i][field] then
      out[#out + 1] = pairs_[i]
    end
  end
  return tables.sort(out, precedes(field))
end

--- The image chain, then what the text chain has besides that sees images.
local function for_images(image, text)
  local out, seen = tables.copy(image), tables.set(image)
  for i = 1, #text do
    if text[i].supports_image and not seen[text[i]] then
      out[#out + 1] = text[i]
    end
  end
  return out
end

local function entries(list)
  local out = {}
  for i = 1, #list do
    out[i] = { provider = list[i].backend, model = list[i].family }
  end
  return out
end

--- The chains of a catalog.
---@param pairs_ table what `catalog.read` gives
---@return table|nil chains {text, image}: lists of {provider, model}; nothing where no model has a place
local function build(pairs_)
  local text, image = placed(pairs_, "greybox_text"), placed(pairs_, "greybox_image")
  if #text == 0 and #image == 0 then
    return nil
  end
  return { text = entries(text), image = entries(for_images(image, text)) }
end

return { build = build }
