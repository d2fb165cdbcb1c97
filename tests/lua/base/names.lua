-- Claims about guessing the name that was meant.

local names = require("llm_policy.base.names")

local KNOWN = { "price_in", "price_out", "argmax", "ordered", "is", "top_k" }

return function(check)
  check("a letter too few is found", names.nearest("argmx", KNOWN) == "argmax")
  check("swapped letters are found", names.nearest("pirce_in", KNOWN) == "price_in")
  check("the name itself is nearest", names.nearest("price_out", KNOWN) == "price_out")
  check("a far name is none", names.nearest("temperature", KNOWN) == nil)
  check("a short name is not replaced whole", names.nearest("x", KNOWN) == nil)
  check("of equally near names the first in byte order", names.nearest("cat", { "rat", "bat", "hat" }) == "bat")
  check("an endless name is near nothing", names.nearest(string.rep("a", 5000), { string.rep("a", 5000) }) == nil)
  check("of no names none is near", names.nearest("a", {}) == nil)
end
