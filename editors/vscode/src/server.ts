// The language server's life: finds the command, starts, stops and restarts it. Must not know how its state is shown.

import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import * as os from "node:os";
import * as path from "node:path";

import * as vscode from "vscode";
import { LanguageClient, RevealOutputChannelOn, State } from "vscode-languageclient/node";

export type ServerState =
  | { readonly kind: "starting" | "running" | "stopped"; readonly detail: string }
  | { readonly kind: "failed"; readonly reason: string };

/** An expected failure, worded for the user. */
class ServerError extends Error {}

export class Server implements vscode.Disposable {
  readonly #output: vscode.LogOutputChannel;
  readonly #onState: (state: ServerState) => void;
  #client: LanguageClient | undefined;
  // Restarts wait for each other, so that a second server never runs beside the first.
  #queue: Promise<void> = Promise.resolve();

  constructor(output: vscode.LogOutputChannel, onState: (state: ServerState) => void) {
    this.#output = output;
    this.#onState = onState;
  }

  restart(): Promise<void> {
    return this.#enqueue(async () => {
      await this.#stop();
      await this.#start();
    });
  }

  /** VS Code waits for what `deactivate` returns but not for this; the server also exits when its input closes. */
  dispose(): void {
    void this.#enqueue(() => this.#stop());
  }

  #enqueue(task: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(task).catch((error: unknown) => {
      this.#fail(error);
    });
    return this.#queue;
  }

  async #start(): Promise<void> {
    const command = await resolveCommand();
    this.#output.info(`Starting ${command} lsp`);
    const client = new LanguageClient(
      "tabcast",
      "Tabcast",
      // The working directory is not the workspace, so that nothing in one can be imported or run by accident.
      { command, args: ["lsp"], options: { cwd: os.homedir() } },
      {
        documentSelector: [{ scheme: "file" }, { scheme: "untitled" }],
        outputChannel: this.#output,
        // Completion is a convenience: trouble belongs in the log and the status item, not in a pop-up.
        revealOutputChannelOn: RevealOutputChannelOn.Never,
      },
    );
    client.onDidChangeState(({ newState }) => {
      if (client === this.#client) {
        this.#onState({ kind: STATE_KINDS[newState], detail: command });
      }
    });
    this.#client = client;
    await client.start();
  }

  async #stop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await client?.dispose();
  }

  #fail(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#output.error(reason);
    this.#onState({ kind: "failed", reason });
    if (error instanceof ServerError) {
      void this.#offerSettings(reason);
    }
  }

  async #offerSettings(reason: string): Promise<void> {
    const open = "Open Settings";
    if ((await vscode.window.showErrorMessage(reason, open)) === open) {
      await vscode.commands.executeCommand("workbench.action.openSettings", "tabcast.server.path");
    }
  }
}

const STATE_KINDS = {
  [State.Starting]: "starting",
  [State.StartFailed]: "stopped",
  [State.Running]: "running",
  [State.Stopped]: "stopped",
} as const;

/** The setting if there is one, else the first `tabcast` on the PATH; always an absolute path. */
async function resolveCommand(): Promise<string> {
  const configured = vscode.workspace.getConfiguration("tabcast").get<string>("server.path", "");
  if (configured !== "") {
    if (!path.isAbsolute(configured) || !(await isExecutable(configured))) {
      throw new ServerError(`Tabcast: tabcast.server.path is not the absolute path of a program: ${configured}`);
    }
    return configured;
  }
  const name = process.platform === "win32" ? "tabcast.exe" : "tabcast";
  for (const directory of (process.env["PATH"] ?? "").split(path.delimiter)) {
    const candidate = path.join(directory, name);
    // A relative entry would be looked up in whatever folder the editor was started from.
    if (path.isAbsolute(directory) && (await isExecutable(candidate))) {
      return candidate;
    }
  }
  throw new ServerError("Tabcast: no tabcast command on the PATH. Install it, or set tabcast.server.path.");
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}
