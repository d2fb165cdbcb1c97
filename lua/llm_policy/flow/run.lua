-- A run of a flow: the pure scheduler. Each llm node runs once, after all of its inputs, in canonical
-- order; its one effect is the embedder's `run_node` (spec 2.6).

local encoding = require("llm_policy.flow.encoding")
local graph = require("llm_policy.flow.graph")
local numbers = require("llm_policy.base.numbers")

local byte, concat, gsub, type = string.byte, table.concat, string.gsub, type

--- The text at a place written in decimal digits, or nothing.
local function text_at(texts, digits)
  local place = 0
  for i = 1, #digits do
    if place <= #texts then
      place = place * 10 + byte(digits, i) - 48
    end
  end
  return texts[place]
end

--- The texts of a node's inputs as one: its template's `$1 $2 ...` replaced; without a template one text
--- as it is, several as numbered sections.
---@param node table {template?}
---@param texts table list
---@return string
local function assemble(node, texts)
  if node.template then
    return (gsub(node.template, "%$(%d+)", function(digits)
      return text_at(texts, digits)
    end))
  end
  if #texts == 1 then
    return texts[1]
  end
  local sections = {}
  for i = 1, #texts do
    sections[i] = "[input " .. numbers.format(i) .. "]\n" .. texts[i]
  end
  return concat(sections, "\n\n")
end

local function texts_of(entry, outputs)
  local out = {}
  for k = 1, #entry.sources do
    out[k] = outputs[entry.sources[k] + 1]
  end
  return out
end

--- A node as `run_node` and `assemble` get it: under its author's id.
local function shown(entry)
  local plain = entry.plain
  return {
    id = entry.id,
    kind = plain.kind,
    system = plain.system,
    policy = plain.policy,
    template = plain.template,
  }
end

local function failure(node, why)
  return { node = node.id, error = why or "no_text" }
end

--- Runs a flow.
---@param flow table
---@param options table {input = text; run_node = function(node, text) -> text, or nothing and an error;
---assemble? = function(node, texts) -> text in place of the default; schema? = as `check` takes it}
---@return string|nil text the output's
---@return table|nil error a refusal {code, path, detail}, or {node = id, error = what `run_node` gave}
local function run(flow, options)
  local ok, refusal = graph.check(flow, options.schema)
  if not ok then
    return nil, refusal
  end
  local list, outputs = encoding.canonical(flow), {}
  for i = 1, #list do
    local node = shown(list[i])
    if node.kind == "input" then
      outputs[i] = options.input
    else
      local text, why = (options.assemble or assemble)(node, texts_of(list[i], outputs)), nil
      if node.kind == "llm" then
        text, why = options.run_node(node, text)
      end
      if type(text) ~= "string" then
        return nil, failure(node, why)
      end
      outputs[i] = text
    end
    if node.kind == "output" then
      return outputs[i]
    end
  end
end

return { run = run, assemble = assemble }
