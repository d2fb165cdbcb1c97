-- Log lines for operators: a line that the host refuses must never end a call.

local tables = require("llm_policy.base.tables")

local pcall = pcall

--- A function that writes lines; without a native it writes nothing.
---@param write function|nil the native `log_json`
---@return fun(level: string, message: string, fields: table|nil) log
local function new(write)
  return function(level, message, fields)
    if not write then
      return
    end
    local line = tables.copy(fields or {})
    line.level, line.message = level, "greybox: " .. message
    if not pcall(write, line) then
      pcall(write, { level = level, message = line.message })
    end
  end
end

return { new = new }
