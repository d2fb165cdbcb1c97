-- Claims about plain tables.

local tables = require("llm_policy.base.tables")

local function by_rank(a, b)
  return a.rank < b.rank
end

-- Items whose ranks repeat, in an order that looks like none.
local function items(count)
  local list, state = {}, 7
  for i = 1, count do
    state = (state * 31 + 11) % 101
    list[i] = { rank = state % 13, place = i }
  end
  return list
end

local function is_stably_sorted(list)
  for i = 2, #list do
    local left, right = list[i - 1], list[i]
    if left.rank > right.rank or (left.rank == right.rank and left.place > right.place) then
      return false
    end
  end
  return true
end

local function check_sort(check)
  for count = 0, 70 do
    local list = items(count)
    check("sort answers the same list", tables.sort(list, by_rank) == list)
    check("sort is stable and loses nothing", is_stably_sorted(list) and #list == count, count)
    check("sorting again changes nothing", is_stably_sorted(tables.sort(list, by_rank)), count)
  end
end

local function check_keys(check)
  local keys, has_others = tables.keys({ b = 1, a = 2, B = 3, [""] = 4, aa = 5 })
  check("keys come in byte order", table.concat(keys, ",") == ",B,a,aa,b", keys)
  check("a record has no other keys", has_others == false)
  local _, list_has_others = tables.keys({ "x", a = 1 })
  check("a position is another key", list_has_others == true)
end

local function check_dense(check)
  check("the empty table is dense", tables.dense({}) == 0)
  check("a list is dense", tables.dense({ 1, 2, 3 }) == 3)
  check("false is an item", tables.dense({ false, false }) == 2)
  check("a hole is refused", tables.dense({ 1, nil, 3 }) == nil)
  check("a list not from 1 is refused", tables.dense({ [0] = 1, [1] = 2 }) == nil)
  check("a fraction as key is refused", tables.dense({ [1] = 1, [3 / 2] = 2 }) == nil)
  check("a name as key is refused", tables.dense({ 1, 2, n = 2 }) == nil)
  check("a list up to the limit is dense", tables.dense({ 1, 2, 3 }, 3) == 3)
  check("a longer one is not", tables.dense({ 1, 2, 3 }, 2) == nil)
  local masked = setmetatable({ nil, 2 }, {
    __index = function()
      return 1
    end,
  })
  check("a metatable fills no hole", tables.dense(masked) == nil)
end

local function check_copies(check)
  local original = { a = { b = { 1, 2 } }, c = 3 }
  local copy, deep = tables.copy(original), tables.deep_copy(original)
  check("a copy shares its values", copy ~= original and copy.a == original.a and copy.c == 3)
  check("a deep copy shares no table", deep.a ~= original.a and deep.a.b ~= original.a.b and deep.a.b[2] == 2)
  check("a deep copy of a plain value is that", tables.deep_copy("x") == "x")
  local set = tables.set({ "x", "y" })
  check("a set has its items as keys", set.x == true and set.y == true and set.z == nil)
end

return function(check)
  check_sort(check)
  check_keys(check)
  check_dense(check)
  check_copies(check)
end
