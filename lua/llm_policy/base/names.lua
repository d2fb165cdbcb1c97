-- Finding the name that a misspelt one was probably meant to be.

local bytes = require("llm_policy.base.bytes")

local byte = string.byte
local less = bytes.less

-- Half of the name may be wrong, but never more than this many bytes.
local FARTHEST = 3
-- Longer names are not compared: the work grows with the product of the lengths.
local LONGEST = 256

local names = {}

local function smallest(a, b, c)
  local least = a < b and a or b
  return least < c and least or c
end

-- Levenshtein's distance: insertions, deletions and replacements of bytes.
local function distance(a, b)
  local row = {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local cost = byte(a, i) == byte(b, j) and 0 or 1
      row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + cost)
      diagonal = above
    end
  end
  return row[#b]
end

local function farthest_from(name)
  for limit = 1, FARTHEST do
    if #name < 2 * limit then
      return limit - 1
    end
  end
  return FARTHEST
end

--- The name of the list closest to a given one, the first in byte order of several; nothing when all are far.
---@param name string
---@param list string[]
---@return string?
function names.nearest(name, list)
  if #name > LONGEST then
    return nil
  end
  local best, best_distance = nil, farthest_from(name)
  for i = 1, #list do
    local known = list[i]
    local difference = #known - #name
    if difference <= best_distance and -difference <= best_distance then
      local away = distance(name, known)
      if away < best_distance or (away == best_distance and (not best or less(known, best))) then
        best, best_distance = known, away
      end
    end
  end
  return best
end

return names
