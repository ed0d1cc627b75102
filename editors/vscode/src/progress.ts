// Takes a command's progress out of the status bar, to where its user waits for it. Knows no editor.

/** A message of the server's work-done progress. */
export interface ProgressValue {
  readonly kind: "begin" | "report" | "end";
  readonly cancellable?: boolean;
  readonly message?: string;
  readonly percentage?: number;
}

export interface Step {
  readonly message?: string;
  readonly increment?: number;
}

/** Only commands that the user may cancel have such a progress, and at most one runs. */
export class ProgressTap {
  #show: ((step: Step) => void) | undefined;
  #token: number | string | undefined;
  #percentage = 0;

  /** Shows by `show` what the next command tells, instead of in the status bar. */
  open(show: (step: Step) => void): void {
    [this.#show, this.#token, this.#percentage] = [show, undefined, 0];
  }

  close(): void {
    this.#show = undefined;
  }

  /** Whether the message was taken; the end is for everybody. */
  take(token: number | string, value: ProgressValue): boolean {
    if (this.#show !== undefined && value.kind === "begin" && value.cancellable === true) {
      this.#token = token;
      return true;
    }
    if (this.#show === undefined || token !== this.#token || value.kind !== "report") {
      return false;
    }
    const percentage = Math.max(this.#percentage, value.percentage ?? 0);
    const increment = percentage - this.#percentage;
    this.#percentage = percentage;
    this.#show({ message: value.message ?? "", increment });
    return true;
  }
}
