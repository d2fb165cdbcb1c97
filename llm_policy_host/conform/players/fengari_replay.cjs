// Replay lines on fengari, Lua 5.3 in JavaScript with integers of 32 bits: MODULE INPUT OUTPUT.
// A Lua string is an array of bytes there: no string is converted on the way.
const fs = require("fs");
const { lua, lauxlib, lualib, to_luastring: bytes } = require("fengari");

function told(state) {
  return Buffer.from(lauxlib.luaL_tolstring(state, -1)).toString();
}

function* linesOf(text) {
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf(10, start);
    yield text.subarray(start, end);
    start = end + 1;
  }
}

function main([module, input, output]) {
  const state = lauxlib.luaL_newstate();
  lualib.luaL_openlibs(state);
  lua.lua_pushstring(state, bytes(process.env.LUA_PATH));
  lua.lua_setglobal(state, bytes("searched"));
  lua.lua_pushstring(state, bytes(module));
  lua.lua_setglobal(state, bytes("module"));
  if (lauxlib.luaL_dostring(state, bytes("package.path = searched return require(module)")))
    throw new Error(told(state));
  const answers = [];
  for (const line of linesOf(fs.readFileSync(input))) {
    lua.lua_pushvalue(state, -1);
    lua.lua_pushlstring(state, Uint8Array.from(line), line.length);
    if (lua.lua_pcall(state, 1, 1, 0)) throw new Error(told(state));
    answers.push(Buffer.from(lua.lua_tostring(state, -1)), Buffer.from("\n"));
    lua.lua_pop(state, 1);
  }
  fs.writeFileSync(output, Buffer.concat(answers));
}

try {
  main(process.argv.slice(2));
} catch (error) {
  console.error(String(error));
  process.exit(1);
}
