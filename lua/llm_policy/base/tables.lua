-- Plain tables: their keys in one order, their density, a stable sort and copies.
-- Everything here looks at raw contents only and honours no metatable.

local bytes = require("llm_policy.base.bytes")

local less_bytes = bytes.less
local next, rawget, type = next, rawget, type

-- Runs this short are sorted by insertion: fewer comparisons than merging them.
local RUN = 8

local tables = {}

local function insert_run(list, from, to, less)
  for i = from + 1, to do
    local item, j = list[i], i - 1
    while j >= from and less(item, list[j]) do
      list[j + 1] = list[j]
      j = j - 1
    end
    list[j + 1] = item
  end
end

-- Merges source[from..middle] and source[middle+1..to] into target; ties take the left.
local function merge(source, target, from, middle, to, less)
  local left, right = from, middle + 1
  for at = from, to do
    if right > to or (left <= middle and not less(source[right], source[left])) then
      target[at] = source[left]
      left = left + 1
    else
      target[at] = source[right]
      right = right + 1
    end
  end
end

local function merge_pass(source, target, count, width, less)
  for from = 1, count, 2 * width do
    local middle = from + width - 1
    local to = middle + width
    if to > count then
      to = count
    end
    if middle >= to or not less(source[middle + 1], source[middle]) then
      for at = from, to do
        target[at] = source[at]
      end
    else
      merge(source, target, from, middle, to, less)
    end
  end
end

--- Sorts the list in place and stably; equal items keep their order on every runtime.
---@generic V
---@param list V[]
---@param less fun(a: V, b: V): boolean  a strict order
---@return V[] list  the same table
function tables.sort(list, less)
  local count = #list
  for from = 1, count, RUN do
    insert_run(list, from, from + RUN - 1 < count and from + RUN - 1 or count, less)
  end
  local source, target, width = list, {}, RUN
  while width < count do
    merge_pass(source, target, count, width, less)
    source, target, width = target, source, 2 * width
  end
  if source ~= list then
    for i = 1, count do
      list[i] = source[i]
    end
  end
  return list
end

--- The table's string keys in byte order, and whether it has any other key.
---@param map table
---@return string[] keys
---@return boolean has_others
function tables.keys(map)
  local list, count, has_others = {}, 0, false
  for key in next, map do
    if type(key) == "string" then
      count = count + 1
      list[count] = key
    else
      has_others = true
    end
  end
  return tables.sort(list, less_bytes), has_others
end

--- The length of a table whose keys are exactly 1..n (0 when empty), else nothing.
--- Proved by counting, because `#` of a table with a hole differs between runtimes.
---@param list table
---@param limit? integer  longer ones answer nothing too
---@return integer?
function tables.dense(list, limit)
  local count = 0
  for key in next, list do
    count = count + 1
    if type(key) ~= "number" or (limit and count > limit) then
      return nil
    end
  end
  for i = 1, count do
    if rawget(list, i) == nil then
      return nil
    end
  end
  return count
end

--- A copy of the table's own keys; the values are shared.
---@generic T: table
---@param map T
---@return T
function tables.copy(map)
  local result = {}
  for key, value in next, map do
    result[key] = value
  end
  return result
end

local deep_copy
deep_copy = function(value)
  if type(value) ~= "table" then
    return value
  end
  local result = {}
  for key, item in next, value do
    result[key] = deep_copy(item)
  end
  return result
end

--- A copy that shares no table with the original, which must be acyclic plain data.
---@generic V
---@param value V
---@return V
function tables.deep_copy(value)
  return deep_copy(value)
end

--- What a pure function makes of every value, by key; entries that it answers nothing for are left out.
---@generic V, W
---@param map table<string, V>
---@param make fun(value: V): W|nil
---@return table<string, W>
function tables.map(map, make)
  local result = {}
  for key, value in next, map do
    result[key] = make(value)
  end
  return result
end

--- The list's items as the keys of a table whose every value is true.
---@param list any[]
---@return table<any, true>
function tables.set(list)
  local result = {}
  for i = 1, #list do
    result[list[i]] = true
  end
  return result
end

return tables
