import assert from "node:assert/strict";
import { test } from "node:test";

import { describe, type EngineStatus } from "../src/state";

const READY: EngineStatus = { state: "ready", percent: 100, model: "pair", device: "cpu", message: "", action: "" };

const cases: [string, Parameters<typeof describe>[0], string, string, string][] = [
  ["starting", { kind: "starting", detail: "/bin/x" }, "Tabcast: starting", "/bin/x", "information"],
  ["failed", { kind: "failed", detail: "no command" }, "Tabcast: failed", "no command", "error"],
  ["no word yet", { kind: "running", detail: "/bin/x", engine: undefined }, "Tabcast: running", "/bin/x", "information"],
  ["ready", { kind: "running", detail: "", engine: READY }, "Tabcast: ready", "pair on cpu", "information"],
  [
    "a better model",
    { kind: "running", detail: "", engine: { ...READY, better: "a better one lies here" } },
    "Tabcast: ready",
    "pair on cpu · a better one lies here",
    "information",
  ],
  [
    "loading",
    { kind: "running", detail: "", engine: { ...READY, state: "loading", percent: 40, model: "", device: "", message: "weights" } },
    "Tabcast: loading 40 %",
    "weights",
    "information",
  ],
  [
    "a failed engine",
    { kind: "running", detail: "", engine: { ...READY, state: "failed", message: "no memory", action: "run doctor" } },
    "Tabcast: failed",
    "pair on cpu · no memory · run doctor",
    "error",
  ],
];
test("status: icons", () => {
  const icon = (engine: Partial<EngineStatus>): string =>
    describe({ kind: "running", detail: "", engine: { ...READY, ...engine } }).icon;
  assert.equal(icon({}), "sparkle");
  assert.equal(icon({ destination: "models.example" }), "cloud");
  assert.equal(icon({ state: "failed", destination: "models.example" }), "warning");
  assert.equal(icon({ state: "off" }), "circle-slash");
  assert.equal(describe({ kind: "failed", detail: "" }).icon, "warning");
});

for (const [name, state, text, detail, severity] of cases) {
  test(`status: ${name}`, () => {
    const shown = describe(state);
    assert.deepEqual([shown.text, shown.detail, shown.severity], [text, detail, severity]);
  });
}
