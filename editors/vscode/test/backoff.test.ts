import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../src/backoff";

const LIMITS = { maxRestarts: 5, firstPauseMs: 1000, stableMs: 60_000 };

test("a server that ends at once is started again five times, after ever longer pauses", () => {
  const backoff = new Backoff(LIMITS);
  const pauses = Array.from({ length: 6 }, (_, n) => {
    backoff.started(n * 1000);
    return backoff.ended(n * 1000 + 10);
  });
  assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 16_000, undefined]);
});

test("a server that can't be started counts, too", () => {
  const backoff = new Backoff({ ...LIMITS, maxRestarts: 1 });
  assert.equal(backoff.ended(0), 1000);
  assert.equal(backoff.ended(1), undefined);
});

test("after a long good run the count begins anew", () => {
  const backoff = new Backoff({ ...LIMITS, maxRestarts: 1 });
  backoff.started(0);
  assert.equal(backoff.ended(1), 1000);
  backoff.started(2);
  assert.equal(backoff.ended(60_002), 1000);
  assert.equal(backoff.ended(60_003), undefined);
});

test("somebody who asks for a start gets all tries again", () => {
  const backoff = new Backoff({ ...LIMITS, maxRestarts: 1 });
  backoff.ended(0);
  backoff.reset();
  assert.equal(backoff.ended(1), 1000);
});
