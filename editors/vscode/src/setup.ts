// Which model is recommended for this machine, what came of setting it up, and when that is offered. Knows no editor.

import type { EngineStatus } from "./state";

/** What the server's status names where nobody has chosen a model. */
export const SHIPPED_PAIR = "the shipped pair";

export interface Recommendation {
  readonly name: string;
  readonly title: string;
  readonly kind: string;
  readonly source: "disk" | "pull" | "bundled" | "in use";
  readonly download_bytes: number;
  readonly memory_bytes: number;
  /** 0 where it isn't known. */
  readonly tokens_per_second: number;
  readonly reason: string;
}

/** What `tabcast.server.setup` answers. */
export interface SetupAnswer {
  readonly outcome: "recommended" | "done" | "undone" | "failed" | "cancelled" | "busy";
  readonly message: string;
  readonly recommendation: Recommendation | null;
  readonly model: string;
  readonly completion: string;
  readonly config: string;
}

function size(bytes: number): string {
  return bytes >= 1e8 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

export function describeModel(model: Recommendation): string {
  const { download_bytes: fetched, tokens_per_second: speed } = model;
  const facts = [
    fetched > 0 ? `${size(fetched)} to fetch` : "nothing to fetch",
    `${size(model.memory_bytes)} of memory`,
    ...(speed > 0 ? [`about ${speed.toFixed(0)} tokens a second`] : []),
  ];
  return `${model.title}, ${model.kind}: ${facts.join(", ")}`;
}

/** What is told when a setup has ended; nothing of what the user cancelled. */
export function describeOutcome(answer: SetupAnswer): string {
  const { outcome, message, model, completion, config } = answer;
  if (outcome === "done") {
    const completed = completion === "" ? "It suggests nothing for the sample" : `It completes: ${completion.trim()}`;
    // A single word is why a completion ended where it did.
    const isTold = message.includes(" ") || (completion === "" && message !== "");
    return `${model} is set up. ${completed}${isTold ? ` (${message})` : ""}`;
  }
  if (outcome === "undone") {
    return `the setup is undone. ${config}: ${message}`;
  }
  return outcome === "cancelled" ? "" : message;
}

/** What the offer needs of the editor. */
export interface Offering {
  /** Whether the user has said no, or has chosen a model. */
  readonly isSettled: () => boolean;
  readonly remember: () => void;
  readonly recommend: () => Promise<SetupAnswer | undefined>;
  /** Asks the user. */
  readonly agrees: (model: Recommendation) => Promise<boolean>;
  readonly run: (model: Recommendation) => Promise<void>;
}

/** Offers a code model to who runs the shipped pair: once in a window, and never again after a no. */
export class SetupOffer {
  readonly #offering: Offering;
  #hasBegun = false;

  constructor(offering: Offering) {
    this.#offering = offering;
  }

  /** To be called with each status; undefined while no server runs. */
  async update(engine: EngineStatus | undefined): Promise<void> {
    const isShipped = engine?.state === "ready" && engine.model === SHIPPED_PAIR;
    if (!isShipped || this.#hasBegun || this.#offering.isSettled()) {
      return;
    }
    this.#hasBegun = true;
    const { remember, recommend, agrees, run } = this.#offering;
    const answer = await recommend();
    const model = answer?.outcome === "recommended" ? answer.recommendation : null;
    if (answer?.outcome === "cancelled" || model?.source === "in use" || model?.source === "bundled") {
      remember(); // nothing is better here, and nobody wants to be measured again
    } else if (model && !this.#offering.isSettled()) {
      if (await agrees(model)) {
        await run(model);
      } else {
        remember();
      }
    }
  }
}
