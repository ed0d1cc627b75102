import assert from "node:assert/strict";
import { test } from "node:test";

import { EngineNotice, isOtherRelease } from "../src/notice";
import type { EngineStatus } from "../src/state";

function status(state: EngineStatus["state"], message = ""): EngineStatus {
  return { state, percent: 0, model: "", device: "", message, action: "" };
}

test("an engine that stays failed is told once, with its last reason", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const told: string[] = [];
  const notice = new EngineNotice(1000, (reason) => told.push(reason));
  notice.update(status("failed", "first"));
  context.mock.timers.tick(999);
  assert.deepEqual(told, []);
  notice.update(status("failed", "second"));
  context.mock.timers.tick(1);
  assert.deepEqual(told, ["second"]);
  for (const state of ["loading", "failed", "stopped", "failed"] as const) {
    notice.update(status(state, "third"));
    context.mock.timers.tick(5000);
  }
  assert.deepEqual(told, ["second"]);
  notice.update(status("ready"));
  notice.update(status("failed", "fourth"));
  context.mock.timers.tick(1000);
  assert.deepEqual(told, ["second", "fourth"]);
});

test("an engine that is back in time is not told, nor one whose server has ended", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const told: string[] = [];
  const notice = new EngineNotice(1000, (reason) => told.push(reason));
  for (const next of [status("loading"), status("ready"), undefined]) {
    notice.update(status("failed", "lost"));
    context.mock.timers.tick(900);
    notice.update(next);
    context.mock.timers.tick(5000);
  }
  assert.deepEqual(told, []);
});

test("patches of a release fit each other", () => {
  assert.equal(isOtherRelease("0.1.0", "0.1.7"), false);
  assert.equal(isOtherRelease("0.1.0", "0.1.0.post1"), false);
  assert.equal(isOtherRelease("0.1.0", "0.2.0"), true);
  assert.equal(isOtherRelease("1.1.0", "0.1.0"), true);
});
