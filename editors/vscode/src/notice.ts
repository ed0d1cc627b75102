// When trouble is told in a message of its own: once, and not before it has lasted. Knows no editor.

import type { EngineStatus } from "./state";

/** An engine that was lost is back long before. */
export const GRACE_MS = 30_000;

/** Tells of an engine that has failed for a while; then not again before one was ready. */
export class EngineNotice {
  readonly #graceMs: number;
  readonly #tell: (reason: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #reason = "";
  #hasTold = false;

  constructor(graceMs: number, tell: (reason: string) => void) {
    this.#graceMs = graceMs;
    this.#tell = tell;
  }

  /** To be called with each status; undefined while no server runs. */
  update(engine: EngineStatus | undefined): void {
    if (engine?.state !== "failed") {
      this.dispose();
      this.#hasTold &&= engine?.state !== "ready";
      return;
    }
    this.#reason = engine.message;
    if (!this.#hasTold) {
      this.#timer ??= setTimeout(() => {
        this.#hasTold = true;
        this.#tell(this.#reason);
      }, this.#graceMs);
    }
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** Whether two versions are of different releases; a later patch of one fits. */
export function isOtherRelease(one: string, other: string): boolean {
  const [release, otherRelease] = [one, other].map((version) => version.split(".").slice(0, 2).join("."));
  return release !== otherRelease;
}
