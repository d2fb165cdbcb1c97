-- The library of every GenVM script, as far as spec 4.1 tells it.
return { rs = __dflt } -- luacheck: globals __dflt
