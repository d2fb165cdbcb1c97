-- Flows: several policies as one graph of model calls, as the face shows them.

local encoding = require("llm_policy.flow.encoding")
local graph = require("llm_policy.flow.graph")
local runs = require("llm_policy.flow.run")

return {
  TAG = encoding.TAG,
  check = graph.check,
  normalize = encoding.normalize,
  encode = encoding.encode,
  fingerprint = encoding.fingerprint,
  identity = encoding.identity,
  run = runs.run,
  assemble = runs.assemble,
}
