-- Replay: answers each line of a file with a line of another, on whatever Lua runs this.
--
-- Arguments: the module that answers (`judge`, `suite`), the file of lines, the file of answers. The
-- module returns function(line) -> line. PUC Lua follows a locale only when told to, so a test says
-- which one in the environment.

local module, input, output = ...

local locale = os.getenv("LLM_POLICY_TEST_LOCALE")
if locale and locale ~= "" then
  assert(os.setlocale(locale, "all"), "no locale " .. locale)
end

local answer = require(module)
local file = assert(io.open(output, "wb"))
for line in io.lines(input) do
  file:write(answer(line), "\n")
end
file:close()
