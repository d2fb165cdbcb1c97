-- Decide: the algebra in which a policy is what it does. Compiles a term to its carriers and plans:
-- filter, score, select, over the columns of a view (spec 1.6).

local cursors = require("llm_policy.verbs.cursor")
local filter = require("llm_policy.verbs.filter")
local fold = require("llm_policy.semantics.fold")
local mutate = require("llm_policy.verbs.mutate")
local observation = require("llm_policy.verbs.observation")
local rank = require("llm_policy.verbs.rank")
local sequence = require("llm_policy.verbs.sequence")
local signature = require("llm_policy.language.signature")

local VERBS = { filter.operations, rank.operations, mutate.operations, sequence.operations }

--- The operation's maker among the verbs.
local function maker(op)
  for i = 1, #VERBS do
    if VERBS[i][op] then
      return VERBS[i][op]
    end
  end
end

--- The algebra of a vocabulary: every operation's maker, closed over it.
local function algebra(vocabulary)
  local out = {}
  local function add(operations)
    for i = 1, #operations do
      local op = operations[i].op
      local make = maker(op)
      if make then
        out[op] = function(args)
          return make(args, vocabulary)
        end
      end
    end
  end
  add(signature.operations)
  add(signature.local_operations)
  out.policy = function(args)
    return { filter = args[1], scorer = args[2], selector = args[3], mutate = args[4], failures = args[5] }
  end
  return out
end

--- What an admitted term means: a predicate, scorer, selector, transform, plan or policy.
---@param term table in normal form
---@param vocabulary table
local function carrier(term, vocabulary)
  return fold(term, algebra(vocabulary))
end

--- The survivors of a predicate: fills idx with their indices, in order; how many.
local function survivors(pred, view, idx)
  local n = view.n
  for i = 1, n do
    idx[i] = i
  end
  return pred:keep(view, idx, n)
end

--- Filters, scores and opens the selector's cursor. idx and scores are scratch: what the cursor
--- finds is valid until they are used again.
---@return table cursor
---@return integer count of survivors
local function shortlist(policy, view, idx, scores)
  local m = survivors(policy.filter, view, idx)
  policy.scorer:score(view, idx, m, scores)
  return policy.selector:select(view, idx, m, scores), m
end

--- Why each candidate that the filter refuses was refused, in the view's order.
---@return table rejected list of {index, reason}
local function rejections(policy, view)
  local out = {}
  for i = 1, view.n do
    local ok, reason = policy.filter:holds(view, i)
    if not ok then
      out[#out + 1] = { index = i, reason = reason }
    end
  end
  return out
end

--- Every candidate of a shortlist, in order.
---@return table ordered list of {index, place, score}; place is the position among the survivors
local function all(cursor, idx)
  local out, r = {}, 1
  while cursors.reach(cursor, r) do
    out[r] = { index = idx[cursor.order[r]], place = cursor.order[r], score = cursor.scores[r] }
    r = r + 1
  end
  return out
end

return {
  carrier = carrier,
  shortlist = shortlist,
  survivors = survivors,
  rejections = rejections,
  all = all,
  reach = cursors.reach,
  view = observation.view,
}
