// The states of server and engine, and how they read. Knows no editor.

/** What the server tells with `tabcast/status`. */
export interface EngineStatus {
  readonly state: "off" | "stopped" | "loading" | "ready" | "failed";
  readonly percent: number;
  readonly model: string;
  readonly device: string;
  readonly message: string;
  readonly action: string;
  readonly better?: string;
  /** The host to which text goes; empty where it stays on this machine. */
  readonly destination?: string;
}

/** What is known of the server itself; while it runs, `engine` is the last that it told. */
export type ServerState =
  | { readonly kind: "starting" | "stopped"; readonly detail: string }
  | { readonly kind: "running"; readonly detail: string; readonly engine: EngineStatus | undefined }
  | { readonly kind: "failed"; readonly detail: string };

interface Shown {
  readonly text: string;
  /** A codicon, for the item in the status bar. */
  readonly icon: string;
  readonly detail: string;
  readonly isBusy: boolean;
  readonly severity: "error" | "warning" | "information";
}

const ICONS: Readonly<Record<EngineStatus["state"], string>> = {
  off: "circle-slash",
  stopped: "debug-pause",
  loading: "sync~spin",
  ready: "sparkle",
  failed: "warning",
};

function describeEngine(engine: EngineStatus): Shown {
  const where = [engine.model, engine.device].filter((part) => part !== "").join(" on ");
  const detail = [where, engine.message, engine.action, engine.better ?? ""].filter((part) => part !== "").join(" · ");
  const isBusy = engine.state === "loading";
  const text = isBusy ? `Tabcast: loading ${String(engine.percent)} %` : `Tabcast: ${engine.state}`;
  const severity = engine.state === "failed" ? "error" : "information";
  const isRemote = engine.state === "ready" && (engine.destination ?? "") !== "";
  return { text, icon: isRemote ? "cloud" : ICONS[engine.state], detail, isBusy, severity };
}

export function describe(state: ServerState): Shown {
  if (state.kind === "running" && state.engine !== undefined) {
    return describeEngine(state.engine);
  }
  return {
    text: `Tabcast: ${state.kind}`,
    icon: state.kind === "failed" ? ICONS.failed : state.kind === "stopped" ? ICONS.stopped : ICONS.loading,
    detail: state.detail,
    isBusy: state.kind === "starting",
    severity: state.kind === "failed" ? "error" : "information",
  };
}
