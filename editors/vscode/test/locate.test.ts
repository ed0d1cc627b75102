import assert from "node:assert/strict";
import { test } from "node:test";

import { locate, type Surroundings } from "../src/locate";

const NOTHING: Surroundings = {
  configured: "",
  selectedPython: () => Promise.resolve(undefined),
  ownPython: () => Promise.resolve(undefined),
  searchPath: [],
  isWindows: false,
  isExecutable: () => Promise.resolve(false),
  hasServer: () => Promise.resolve(false),
};
const ALL: Surroundings = {
  configured: "/set/tabcast",
  selectedPython: () => Promise.resolve("/env/bin/python"),
  ownPython: () => Promise.resolve("/own/bin/python"),
  searchPath: ["relative", "/empty", "/usr/bin"],
  isWindows: false,
  isExecutable: (file) => Promise.resolve(["/set/tabcast", "relative/tabcast", "/usr/bin/tabcast"].includes(file)),
  hasServer: (python) => Promise.resolve(python === "/env/bin/python"),
};
const MODULE = ["-P", "-m", "lsp_server"];

const cases: [string, Surroundings, string | undefined, readonly string[]][] = [
  ["the setting comes first", ALL, "/set/tabcast", []],
  ["then the selected Python environment", { ...ALL, configured: "" }, "/env/bin/python", MODULE],
  [
    "but not without the package; then absolute folders of the PATH",
    { ...ALL, configured: "", hasServer: NOTHING.hasServer },
    "/usr/bin/tabcast",
    [],
  ],
  [
    "then the extension's own environment",
    { ...ALL, configured: "", selectedPython: NOTHING.selectedPython, searchPath: ["relative"] },
    "/own/bin/python",
    MODULE,
  ],
];
for (const [name, around, program, args] of cases) {
  test(name, async () => {
    const located = await locate(around);
    assert.equal(located.kind, "found");
    assert.equal(located.command.program, program);
    assert.deepEqual(located.command.args, args);
  });
}

test("nothing is found where nothing is", async () => {
  assert.deepEqual(await locate(NOTHING), { kind: "absent" });
});

for (const configured of ["tabcast", "./tabcast", "/missing/tabcast"]) {
  test(`the setting "${configured}" is refused, and nothing else is taken in its place`, async () => {
    const located = await locate({ ...ALL, configured });
    assert.equal(located.kind, "bad-setting");
    assert.match(located.reason, new RegExp(configured));
  });
}
