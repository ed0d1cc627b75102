import assert from "node:assert/strict";
import { test } from "node:test";

import { ProgressTap, type Step } from "../src/progress";
import { describeModel, describeOutcome, SetupOffer, SHIPPED_PAIR, type Recommendation, type SetupAnswer } from "../src/setup";
import type { EngineStatus } from "../src/state";

const MODEL: Recommendation = {
  name: "coder-1.5b",
  title: "Coder-1.5B",
  kind: "Q4_K_M",
  source: "pull",
  download_bytes: 1_117_000_000,
  memory_bytes: 1_640_000_000,
  tokens_per_second: 31.4,
  reason: "the largest that is quick here",
};
const ANSWER: SetupAnswer = { outcome: "recommended", message: "", recommendation: MODEL, model: "", completion: "", config: "" };
const SHIPPED: EngineStatus = { state: "ready", percent: 0, model: SHIPPED_PAIR, device: "cpu", message: "", action: "" };

/** An offer to a user who answers `yes`, and what it did. */
function offer(answer: SetupAnswer | undefined, yes: boolean): { made: SetupOffer; done: string[]; memory: { isSettled: boolean } } {
  const done: string[] = [];
  const memory = { isSettled: false };
  const made = new SetupOffer({
    isSettled: () => memory.isSettled,
    remember: () => {
      memory.isSettled = true;
    },
    recommend: () => Promise.resolve(answer),
    agrees: ({ name }) => Promise.resolve(done.push(`asked about ${name}`) > 0 && yes),
    run: ({ name }) => Promise.resolve(void done.push(`ran ${name}`)),
  });
  return { made, done, memory };
}

test("a yes to the offer sets up what was shown, once", async () => {
  const { made, done, memory } = offer(ANSWER, true);
  await made.update(SHIPPED);
  await made.update(SHIPPED);
  assert.deepEqual([done, memory.isSettled], [["asked about coder-1.5b", "ran coder-1.5b"], false]);
});

test("a no to the offer is kept", async () => {
  const { made, done, memory } = offer(ANSWER, false);
  await made.update(SHIPPED);
  assert.deepEqual([done, memory.isSettled], [["asked about coder-1.5b"], true]);
});

test("who has said no is not measured again", async () => {
  const { made, done, memory } = offer(ANSWER, true);
  memory.isSettled = true;
  await made.update(SHIPPED);
  assert.deepEqual(done, []);
});

test("only the shipped pair, when it runs, leads to an offer", async () => {
  const { made, done } = offer(ANSWER, true);
  await made.update(undefined);
  await made.update({ ...SHIPPED, state: "loading" });
  await made.update({ ...SHIPPED, model: "" });
  await made.update({ ...SHIPPED, model: "Coder-1.5B, Q4_K_M" });
  assert.deepEqual(done, []);
});

const quiet: [string, SetupAnswer | undefined, boolean][] = [
  ["nothing better", { ...ANSWER, recommendation: { ...MODEL, source: "in use" } }, true],
  ["cancelled", { ...ANSWER, outcome: "cancelled", recommendation: null }, true],
  ["failed", { ...ANSWER, outcome: "failed", recommendation: null }, false],
  ["no server any more", undefined, false],
];
for (const [name, answer, isSettled] of quiet) {
  test(`no offer: ${name}`, async () => {
    const { made, done, memory } = offer(answer, true);
    await made.update(SHIPPED);
    assert.deepEqual([done, memory.isSettled], [[], isSettled]);
  });
}

test("a model in words", () => {
  assert.equal(describeModel(MODEL), "Coder-1.5B, Q4_K_M: 1.1 GB to fetch, 1.6 GB of memory, about 31 tokens a second");
  const here = { ...MODEL, download_bytes: 0, memory_bytes: 30e6, tokens_per_second: 0 };
  assert.equal(describeModel(here), "Coder-1.5B, Q4_K_M: nothing to fetch, 30.0 MB of memory");
});

test("outcomes in words", () => {
  const done: SetupAnswer = { ...ANSWER, outcome: "done", model: "a", completion: " x + 1", message: "newline" };
  assert.equal(describeOutcome(done), "a is set up. It completes: x + 1");
  assert.equal(describeOutcome({ ...done, message: "remove it there" }), "a is set up. It completes: x + 1 (remove it there)");
  assert.equal(describeOutcome({ ...done, completion: "" }), "a is set up. It suggests nothing for the sample (newline)");
  const undone: SetupAnswer = { ...ANSWER, outcome: "undone", config: "/c", message: "is removed" };
  assert.equal(describeOutcome(undone), "the setup is undone. /c: is removed");
  assert.equal(describeOutcome({ ...ANSWER, outcome: "failed", message: "no space" }), "no space");
  assert.equal(describeOutcome({ ...ANSWER, outcome: "cancelled", message: "cancelled" }), "");
});

test("progress of a command is taken while somebody waits for it", () => {
  const tap = new ProgressTap();
  const shown: Step[] = [];
  assert.equal(tap.take(1, { kind: "begin", cancellable: true }), false);
  tap.open((step) => shown.push(step));
  assert.equal(tap.take(2, { kind: "begin" }), false); // loading, which nobody can cancel
  assert.equal(tap.take(2, { kind: "report", percentage: 50 }), false);
  assert.equal(tap.take(3, { kind: "begin", cancellable: true, percentage: 0 }), true);
  assert.equal(tap.take(3, { kind: "report", message: "fetching", percentage: 40 }), true);
  assert.equal(tap.take(3, { kind: "report", message: "loading" }), true);
  assert.equal(tap.take(3, { kind: "end" }), false);
  tap.close();
  assert.equal(tap.take(3, { kind: "report", percentage: 90 }), false);
  assert.deepEqual(shown, [
    { message: "fetching", increment: 40 },
    { message: "loading", increment: 0 },
  ]);
});
