-- The Rust side's executor: opens what GenVM opens, runs the script's functions and serves its natives.
--
-- A native call that takes time yields to the executor, which resumes it when the answer is there. So
-- it fails wherever Lua cannot yield, and is reported when a coroutine made in Lua is in between.

local natives, report, options = ...

local create, resume, running, status = coroutine.create, coroutine.resume, coroutine.running, coroutine.status
local yield, isyieldable = coroutine.yield, coroutine.isyieldable
local error, next, pcall, rawget, type, tostring = error, next, pcall, rawget, type, tostring
local concat, remove, sort = table.concat, table.remove, table.sort
local loadfile, random = loadfile, math.random
local getupvalue, setmetatable_of_userdata = debug.getupvalue, debug.setmetatable
local globals = _G

-- What the executor runs at this moment; only it may call an asynchronous native.
local current

local REQUEST = {}

local function settle(ok, value)
  if not ok then
    error(value, 0)
  end
  return value
end

local function sync(name)
  local native = natives[name]
  return function(...)
    return settle(native(...))
  end
end

local function async(name)
  return function(...)
    if not isyieldable() then
      report("`" .. name .. "` is called where nothing can yield")
      error("attempt to yield across a C-call boundary", 0)
    elseif running() ~= current then
      report("`" .. name .. "` is called inside a coroutine made in Lua")
      error("`" .. name .. "` is called inside a coroutine made in Lua", 0)
    end
    return settle(yield(REQUEST, name, ...))
  end
end

local function table_of(names, maker, out)
  for i = 1, #names do
    out[names[i]] = maker(names[i])
  end
  return out
end

--- `pairs` in an order of its own for every traversal, where that is asked for: what is observed of
--- the order shows.
local function shuffled_pairs(t)
  local keys = {}
  for key in next, t do
    keys[#keys + 1] = key
  end
  return function()
    while #keys > 0 do
      local key = remove(keys, random(#keys))
      local value = rawget(t, key)
      if value ~= nil then
        return key, value
      end
    end
  end
end

local function close_the_rest()
  local names = { "debug", "utf8", "os", "python" }
  for i = 1, #names do
    globals[names[i]] = nil
    package.loaded[names[i]] = nil
  end
  package.cpath, package.loadlib = "", nil -- luacheck: ignore 122
  package.searchers[4], package.searchers[3] = nil, nil
  package.path = options.path
  if options.shuffle then
    globals.pairs = shuffled_pairs
  end
  math.random = function() -- luacheck: ignore 122
    report("`math.random` starts from the same seed in every process")
    error("`math.random` is called", 2)
  end
end

local executor, calls, last = {}, {}, 0
local amounts = setmetatable({}, { __mode = "k" })

--- Opens the globals; what the natives are by name, asynchronous or not, in two tables.
function executor.open(llm, dflt)
  close_the_rest()
  globals.__llm = table_of(llm.async, async, table_of(llm.sync, sync, llm.values))
  globals.__dflt = table_of(dflt.async, async, table_of(dflt.sync, sync, dflt.values))
end

local function outcome(id, is_ok, first, ...)
  current = nil
  if not is_ok then
    calls[id] = nil
    return "raised", first
  elseif status(calls[id]) == "dead" then
    calls[id] = nil
    return "done", first
  elseif first ~= REQUEST then
    report("the script yields by itself")
    return "raised", "the script yields by itself"
  end
  return "pending", ...
end

--- Runs a started call up to its end or its next asynchronous native.
function executor.step(id, ...)
  current = calls[id]
  return outcome(id, resume(current, ...))
end

--- A call of a global of the script, not yet run.
function executor.start(name)
  local fn = globals[name]
  if type(fn) ~= "function" then
    report("`" .. name .. "` is no function but a " .. type(fn))
  end
  last = last + 1
  calls[last] = create(fn)
  return last
end

function executor.has(name)
  return type(globals[name]) == "function"
end

--- Loads a script; nothing asynchronous is served meanwhile.
function executor.load(path)
  local chunk, message = loadfile(path)
  if not chunk then
    return "raised", message
  end
  local is_ok, raised = pcall(chunk)
  return is_ok and "done" or "raised", raised
end

--- A userdata that counts: compares with its like and with numbers, as a generous `rat` would.
function executor.rat(userdata, numerator)
  local function amount(value)
    return amounts[value] or value
  end
  setmetatable_of_userdata(userdata, {
    __lt = function(a, b)
      return amount(a) < amount(b)
    end,
    __le = function(a, b)
      return amount(a) <= amount(b)
    end,
    __sub = function(a, b)
      return amount(a) - amount(b)
    end,
  })
  amounts[userdata] = numerator
  return userdata
end

--- The names of the globals: a session leaves none behind.
function executor.globals()
  local out = {}
  for name in next, globals do
    out[#out + 1] = tostring(name)
  end
  sort(out)
  return concat(out, " ")
end

--- All that a value holds, as text: whoever changes it is seen.
local function picture(value, inside)
  if type(value) ~= "table" or inside[value] then
    return tostring(value)
  end
  inside[value] = true
  local rows = {}
  for key, each in next, value do
    rows[#rows + 1] = tostring(key) .. "=" .. picture(each, inside)
  end
  inside[value] = nil
  sort(rows)
  return "{" .. concat(rows, ";") .. "}"
end

local walk

local function walk_table(value, seen, rows, where)
  local names, values = {}, {}
  for key, each in next, value do
    local name = type(key) .. " " .. tostring(key)
    names[#names + 1], values[name] = name, each
  end
  sort(names)
  for i = 1, #names do
    walk(values[names[i]], seen, rows, where .. "." .. names[i])
  end
end

--- Everything that a value reaches through tables and upvalues.
walk = function(value, seen, rows, where)
  rows[#rows + 1] = where .. "=" .. tostring(value)
  local kind = type(value)
  if kind ~= "table" and kind ~= "function" or seen[value] then
    return
  end
  seen[value] = true
  if kind == "table" then
    return walk_table(value, seen, rows, where)
  end
  local i, name, upvalue = 1, getupvalue(value, 1)
  while name do
    if name ~= "_ENV" then
      walk(upvalue, seen, rows, where .. ":" .. name)
    end
    i = i + 1
    name, upvalue = getupvalue(value, i)
  end
end

--- All that the script's functions and the loaded modules hold, as text.
function executor.held()
  local seen, rows = { [globals] = true }, {}
  local functions = { "ExecPrompt", "ExecPromptTemplate", "Setup", "Teardown" }
  for i = 1, #functions do
    walk(globals[functions[i]], seen, rows, functions[i])
  end
  walk(package.loaded, seen, rows, "loaded")
  return concat(rows, "\n")
end

--- The tables that all sessions share.
function executor.shared()
  local llm, rows = require("lib-llm"), { picture(globals.__llm.providers, {}) }
  local prompts, formats = { { images = {} }, { images = { "image" } } }, { "text", "json", "bool" }
  for i = 1, #prompts do
    for k = 1, #formats do
      rows[#rows + 1] = picture(llm.select_providers_for(prompts[i], formats[k]), {})
    end
  end
  return concat(rows, "\n") .. picture(llm.overloaded_statuses, {})
end

return executor
