-- The fold: a term's meaning in an algebra, bottom-up. An algebra has one function per operation,
-- (arguments, term) -> meaning; arguments that are subterms arrive as their meanings.

local signature = require("llm_policy.language.signature")

local fold
fold = function(term, algebra)
  local operation = signature.by_name[term[1]] or signature.locals[term[1]]
  local args = {}
  for i = 2, #term do
    local argument = signature.argument(operation, i - 1)
    args[i - 1] = argument.is_term and fold(term[i], algebra) or term[i]
  end
  return algebra[term[1]](args, term)
end

return fold
