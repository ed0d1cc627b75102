// What the server's commands answer, as text for people. Knows no editor.

import type { EngineStatus } from "./state";

export interface Why {
  readonly status: EngineStatus;
  readonly requests: readonly { readonly document: string; readonly text: string; readonly secondsAgo: number }[];
}

export function whyReport({ status, requests }: Why): string {
  const head = `Tabcast is ${status.state}: ${status.message === "" ? status.model : status.message}`;
  const lines = requests.map(({ document, text, secondsAgo }) => `${document}: ${text} (${String(secondsAgo)} s ago)`);
  return [head, status.action, status.better ?? "", "", "The last requests, the newest first:", ...lines].join("\n").replace(/\n{3,}/, "\n\n");
}

/** `latencyMs: {median: 3}` becomes `latency ms` and, below it, `median: 3`. */
export function statsReport(value: object, indent = ""): string {
  return Object.entries(value)
    .map(([name, inner]: [string, unknown]) => {
      const words = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
      const isObject = typeof inner === "object" && inner !== null;
      return isObject
        ? `${indent}${words}:\n${statsReport(inner, `${indent}  `)}`
        : `${indent}${words}: ${typeof inner === "number" ? String(Math.round(inner * 100) / 100) : String(inner)}`;
    })
    .join("\n");
}
