// Replay lines on wasmoon, Lua 5.4 in WebAssembly: MODULE INPUT OUTPUT. The Lua files and the lines
// go into its memory file system, the answers come out of it: no string is converted on the way.
const fs = require("fs");
const path = require("path");
const { LuaFactory } = require("wasmoon");

function* luaFiles(directory) {
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    const full = path.join(directory, entry.name);
    if (entry.isDirectory()) yield* luaFiles(full);
    else if (entry.name.endsWith(".lua")) yield full;
  }
}

async function main([module, input, output]) {
  const searched = process.env.LUA_PATH;
  const factory = new LuaFactory(undefined, {
    LLM_POLICY_TEST_LOCALE: process.env.LLM_POLICY_TEST_LOCALE || "",
  });
  for (const template of searched.split(";"))
    for (const file of luaFiles(template.replace("/?.lua", "")))
      await factory.mountFile(file, fs.readFileSync(file));
  await factory.mountFile("/input", fs.readFileSync(input));
  const wasm = await factory.getLuaModule();
  const lua = await factory.createEngine();
  const replay = fs.readFileSync(process.env.LLM_POLICY_REPLAY, "utf8");
  lua.global.set("searched", searched);
  lua.global.set("module", module);
  await lua.doString(
    `package.path = searched local run = function(...) ${replay} end run(module, "/input", "/output")`,
  );
  fs.writeFileSync(output, wasm.module.FS.readFile("/output"));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(String(error));
  process.exit(1);
});
