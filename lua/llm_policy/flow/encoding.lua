-- The encoding of a flow: nodes in canonical order under canonical ids, whatever its author called
-- them (spec 2.6). Only admitted flows come here.

local bytes = require("llm_policy.base.bytes")
local graph = require("llm_policy.flow.graph")
local normal_form = require("llm_policy.language.normal_form")
local numbers = require("llm_policy.base.numbers")
local tables = require("llm_policy.base.tables")
local terms = require("llm_policy.language.encoding")

local concat, rawget = table.concat, rawget

local TAG = "sigma-flow/v1"

--- A node's own parts as text, without id and inputs; `between` stands after the kind.
local function content(node, between)
  local out = node.kind .. between
  if node.system then
    out = out .. " system=" .. bytes.quote(node.system)
  end
  if node.policy then
    out = out .. " policy=" .. terms.encode(node.policy)
  end
  if node.template then
    out = out .. " template=" .. bytes.quote(node.template)
  end
  return out
end

--- Compares two lists of numbers entry by entry, a shorter prefix first: -1, 0 or 1.
local function compare_lists(a, b)
  for k = 1, #a do
    if b[k] == nil or a[k] > b[k] then
      return 1
    elseif a[k] < b[k] then
      return -1
    end
  end
  return #a < #b and -1 or 0
end

local function precedes(a, b)
  if a.key ~= b.key then
    return bytes.less(a.key, b.key)
  end
  local order = compare_lists(a.sources, b.sources)
  if order ~= 0 then
    return order < 0
  end
  return a.visit < b.visit
end

--- What is compared of each node: its content, with its policy in normal form, and its visit.
local function entries_of(nodes)
  local ids, visits, out = tables.keys(nodes), graph.visits(nodes), {}
  for i = 1, #ids do
    local node = rawget(nodes, ids[i])
    local policy = rawget(node, "policy")
    local plain = {
      kind = rawget(node, "kind"),
      system = rawget(node, "system"),
      policy = policy and normal_form.normalize(policy) or nil,
      template = rawget(node, "template"),
    }
    local entry = { id = ids[i], node = node, plain = plain, visit = visits[ids[i]] }
    entry.key = content(plain, "")
    out[i] = entry
  end
  return out
end

local function sources_of(entry, places)
  local inputs, out = graph.inputs_of(entry.node), {}
  for k = 1, #inputs do
    out[k] = places[inputs[k]]
  end
  return out
end

--- Takes the least of the entries whose inputs all have their place.
local function take_least(waiting, places)
  local least
  for i = 1, #waiting do
    local entry = waiting[i]
    if graph.is_ready(entry.node, places) then
      entry.sources = entry.sources or sources_of(entry, places)
      if not least or precedes(entry, waiting[least]) then
        least = i
      end
    end
  end
  return table.remove(waiting, least)
end

--- The nodes of a flow in canonical order.
---@return table list of {id = the author's, plain = {kind, system?, policy?, template?}, sources = places from 0}
local function canonical(flow)
  local waiting, places, out = entries_of(rawget(flow, 2)), {}, {}
  while #waiting > 0 do
    local entry = take_least(waiting, places)
    places[entry.id] = #out
    out[#out + 1] = entry
  end
  return out
end

local function name(place)
  return "n" .. numbers.format(place)
end

local function names(places)
  local out = {}
  for k = 1, #places do
    out[k] = name(places[k])
  end
  return out
end

--- The normal form: canonical ids, policies in normal form; shares no table with the flow.
local function normalize(flow)
  local nodes, list = {}, canonical(flow)
  for i = 1, #list do
    local node, inputs = list[i].plain, names(list[i].sources)
    node.inputs = #inputs > 0 and inputs or nil
    nodes[name(i - 1)] = node
  end
  return { "flow", nodes }
end

--- The encoding of the normal form, tag first.
local function encode(flow)
  local list, parts = canonical(flow), {}
  for i = 1, #list do
    local text, inputs = content(list[i].plain, " " .. name(i - 1)), names(list[i].sources)
    if #inputs > 0 then
      text = text .. " inputs=[" .. concat(inputs, ",") .. "]"
    end
    parts[i] = "(" .. text .. ")"
  end
  return TAG .. ":(" .. concat(parts, " ") .. ")"
end

--- The fingerprint of the normal form.
local function fingerprint(flow)
  return terms.fingerprint(encode(flow))
end

--- The identity of the normal form: "sha256:" and 64 hex digits.
local function identity(flow)
  return terms.identity(encode(flow))
end

return {
  TAG = TAG,
  canonical = canonical,
  normalize = normalize,
  encode = encode,
  fingerprint = fingerprint,
  identity = identity,
}
