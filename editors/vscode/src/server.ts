// The language server's life: starts it, starts it again when it ends by itself, stops it. Must not know how its state
// is shown or where the command comes from.

import { setTimeout as pause } from "node:timers/promises";

import type * as vscode from "vscode";
import { State, type LanguageClient } from "vscode-languageclient/node";

import { Backoff } from "./backoff";
import { createClient } from "./client";
import { engineArguments } from "./config";
import type { Command } from "./locate";
import { isOtherRelease } from "./notice";
import { ProgressTap, type Step } from "./progress";
import type { EngineStatus, ServerState } from "./state";

export interface Host {
  readonly output: vscode.LogOutputChannel;
  /** The command to start, or undefined if none is to be had, which the host has said. */
  readonly command: () => Promise<Command | undefined>;
  readonly onState: (state: ServerState) => void;
  /** The server keeps ending, and is not started again by itself. */
  readonly onGivenUp: (reason: string) => void;
  /** The server is of another release than `version`. */
  readonly onOtherVersion: (theirs: string, program: string) => void;
  readonly version: string;
}

export class Server implements vscode.Disposable {
  readonly #host: Host;
  readonly #backoff = new Backoff();
  readonly #progress = new ProgressTap();
  #client: LanguageClient | undefined;
  // Starts and stops wait for each other, so that a second server never runs beside the first.
  #queue: Promise<void> = Promise.resolve();
  // A pause before a restart ends without one when somebody else starts or stops the server.
  #generation = 0;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Starts the server anew because somebody asked for it. */
  restart(): Promise<void> {
    this.#backoff.reset();
    return this.#startAgain();
  }

  get isRunning(): boolean {
    return this.#client?.state === State.Running;
  }

  /** Runs a command of the server; undefined if none runs. */
  async execute<T>(command: string, ...args: unknown[]): Promise<T | undefined> {
    if (this.#client?.state !== State.Running) {
      return undefined;
    }
    return this.#client.sendRequest<T>("workspace/executeCommand", { command, arguments: args });
  }

  /** Sets up a model, as `tabcast.server.setup` is asked to; `show` takes its progress. */
  async setUp<T>(wish: object, token?: vscode.CancellationToken, show?: (step: Step) => void): Promise<T | undefined> {
    if (this.#client?.state !== State.Running) {
      return undefined;
    }
    if (show !== undefined) {
      this.#progress.open(show);
    }
    try {
      const params = { command: "tabcast.server.setup", arguments: [wish] };
      // An undefined token would be taken for a second parameter.
      return await this.#client.sendRequest<T>("workspace/executeCommand", params, ...(token ? [token] : []));
    } finally {
      if (show !== undefined) {
        this.#progress.close();
      }
    }
  }

  /** VS Code waits for what `deactivate` returns but not for this; the server also exits when its input closes. */
  dispose(): void {
    void this.stop();
  }

  /** Tells the server where the cursor rests; documents that it doesn't know are nothing to it. */
  rested(document: vscode.TextDocument, position: vscode.Position): void {
    const client = this.#client;
    if (client?.state === State.Running) {
      const convert = client.code2ProtocolConverter;
      const place = convert.asTextDocumentPositionParams(document, position);
      void client.sendNotification("tabcast/didRest", place).catch(() => undefined);
    }
  }

  stop(): Promise<void> {
    this.#generation += 1;
    return this.#enqueue(() => this.#stop());
  }

  #startAgain(): Promise<void> {
    this.#generation += 1;
    return this.#enqueue(async () => {
      await this.#stop();
      await this.#start();
    });
  }

  #enqueue(task: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(task).catch((error: unknown) => {
      this.#host.output.error(reasonOf(error));
    });
    return this.#queue;
  }

  async #start(): Promise<void> {
    const { output, onState, version } = this.#host;
    const command = await this.#host.command();
    if (command === undefined) {
      return;
    }
    const args = engineArguments();
    output.info(`Starting ${[command.program, ...command.args, "lsp", ...args].join(" ")} (${command.origin})`);
    const client = createClient(command, args, output, (token, value) => this.#progress.take(token, value));
    let engine: EngineStatus | undefined;
    const show = (): void => {
      if (client === this.#client && client.state === State.Running) {
        onState({ kind: "running", detail: command.program, engine });
      }
    };
    client.onNotification("tabcast/status", (status: EngineStatus) => {
      engine = status;
      show();
    });
    let hasEnded = false;
    const ended = (reason: string): void => {
      if (client === this.#client && !hasEnded) {
        hasEnded = true;
        this.#ended(reason);
      }
    };
    client.onDidChangeState(({ oldState, newState }) => {
      if (oldState === State.Running && newState === State.Stopped) {
        ended("the language server ended");
      }
    });
    this.#client = client;
    onState({ kind: "starting", detail: command.program });
    try {
      await client.start();
    } catch (error) {
      ended(`the language server could not be started: ${reasonOf(error)}`);
      return;
    }
    // The client also says that it started when the server's output was closed before its failure was noticed.
    if (client.state !== State.Running) {
      ended("the language server could not be started: it ended at once");
      return;
    }
    this.#backoff.started(Date.now());
    show();
    const theirs = client.initializeResult?.serverInfo?.version;
    if (theirs !== undefined && isOtherRelease(theirs, version)) {
      this.#host.onOtherVersion(theirs, command.program);
    }
  }

  #ended(reason: string): void {
    const { output, onState, onGivenUp } = this.#host;
    const generation = ++this.#generation;
    const waitMs = this.#backoff.ended(Date.now());
    if (waitMs === undefined) {
      output.error(`${reason}, too often`);
      onState({ kind: "failed", detail: reason });
      onGivenUp(reason);
      return;
    }
    output.warn(`${reason}; starting it again in ${String(waitMs / 1000)} s`);
    onState({ kind: "stopped", detail: reason });
    void pause(waitMs, undefined, { ref: false }).then(() =>
      generation === this.#generation ? this.#startAgain() : undefined,
    );
  }

  async #stop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    // A client whose server is gone rejects; there is nothing left to stop.
    await client?.dispose().catch(() => undefined);
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
