// When a server that ended by itself is started again. Knows no process and no editor.

export interface Limits {
  readonly maxRestarts: number;
  readonly firstPauseMs: number;
  /** A server that ran so long had started well, so the count begins anew. */
  readonly stableMs: number;
}

export const LIMITS: Limits = { maxRestarts: 5, firstPauseMs: 500, stableMs: 60_000 };

export class Backoff {
  readonly #limits: Limits;
  #numRestarts = 0;
  #startedMs: number | undefined;

  constructor(limits: Limits = LIMITS) {
    this.#limits = limits;
  }

  get numRestarts(): number {
    return this.#numRestarts;
  }

  /** The user asked for a start: what happened before doesn't count. */
  reset(): void {
    this.#numRestarts = 0;
    this.#startedMs = undefined;
  }

  started(nowMs: number): void {
    this.#startedMs = nowMs;
  }

  /** How long to wait before the next start; undefined when it is enough. */
  ended(nowMs: number): number | undefined {
    if (this.#startedMs !== undefined && nowMs - this.#startedMs >= this.#limits.stableMs) {
      this.#numRestarts = 0;
    }
    this.#startedMs = undefined;
    if (this.#numRestarts === this.#limits.maxRestarts) {
      return undefined;
    }
    this.#numRestarts += 1;
    return this.#limits.firstPauseMs * 2 ** (this.#numRestarts - 1);
  }
}
