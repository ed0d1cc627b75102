// Setting up a code model: the questions and messages of its commands, and of the offer at the first start.

import * as vscode from "vscode";

import type { Server } from "./server";
import { describeModel, describeOutcome, SetupOffer, type Recommendation, type SetupAnswer } from "./setup";
import type { EngineStatus } from "./state";

const SETTLED = "tabcast.setup.isSettled";
const SET_UP = "Set Up";

export class ModelSetup {
  readonly #server: Server;
  readonly #output: vscode.LogOutputChannel;
  readonly #memory: vscode.Memento;
  readonly #offer: SetupOffer;

  /** What `memory` keeps holds for all windows. */
  constructor(server: Server, output: vscode.LogOutputChannel, memory: vscode.Memento) {
    this.#server = server;
    this.#output = output;
    this.#memory = memory;
    this.#offer = new SetupOffer({
      isSettled: () => memory.get(SETTLED) === true || isModelSet(),
      remember: () => void memory.update(SETTLED, true),
      recommend: () => server.setUp({ action: "recommend" }),
      agrees: async (model) => {
        const text = `Tabcast runs its small demonstration model. Set up a real code model? ${describeModel(model)}.`;
        return (await vscode.window.showInformationMessage(text, SET_UP, "Not Now")) === SET_UP;
      },
      run: (model) => this.#run(model),
    });
  }

  /** To be called with each status; undefined while no server runs. */
  update(engine: EngineStatus | undefined): void {
    this.#offer.update(engine).catch((error: unknown) => {
      this.#output.warn(`no model is offered: ${String(error)}`);
    });
  }

  /** Recommends a model, and sets it up after a yes. */
  async setUp(tellNone: () => Promise<void>): Promise<void> {
    const answer = await this.#watch("Tabcast: measuring this machine", { action: "recommend" }, tellNone);
    const model = answer?.outcome === "recommended" ? answer.recommendation : undefined;
    if (answer === undefined || !model) {
      tell(answer);
    } else if (model.source === "in use") {
      void vscode.window.showInformationMessage(`Tabcast: ${describeModel(model)}; ${model.reason}.`);
    } else if (await agreesToAll(model)) {
      await this.#run(model, tellNone);
    }
  }

  /** Puts back the configuration of before, and offers nothing again. */
  async undo(tellNone: () => Promise<void>): Promise<void> {
    const answer = await this.#watch("Tabcast: undoing the setup", { action: "undo" }, tellNone);
    if (answer?.outcome === "undone") {
      await this.#memory.update(SETTLED, true);
    }
    tell(answer);
  }

  async #run(model: Recommendation, tellNone?: () => Promise<void>): Promise<void> {
    tell(await this.#watch(`Tabcast: setting up ${model.title}`, { action: "run", model: model.name }, tellNone));
  }

  /** Runs it with a progress that can be cancelled; undefined if that was done, or no server runs. */
  async #watch(title: string, wish: object, tellNone?: () => Promise<void>): Promise<SetupAnswer | undefined> {
    if (!this.#server.isRunning) {
      await tellNone?.();
      return undefined;
    }
    const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
    return vscode.window.withProgress(options, async (progress, token) => {
      try {
        return await this.#server.setUp<SetupAnswer>(wish, token, (step) => {
          progress.report(step);
        });
      } catch (error) {
        if (!token.isCancellationRequested) {
          void vscode.window.showErrorMessage(`Tabcast: ${error instanceof Error ? error.message : String(error)}`);
        }
        return undefined;
      }
    });
  }
}

/** A model that the settings name counts before the configuration. */
function isModelSet(): boolean {
  return vscode.workspace.getConfiguration("tabcast").get<string>("server.model", "") !== "";
}

async function agreesToAll(model: Recommendation): Promise<boolean> {
  const detail = `${describeModel(model)}.\n${model.reason}.`;
  const options = { modal: true, detail };
  return (await vscode.window.showInformationMessage(`Set up ${model.name} for Tabcast?`, options, SET_UP)) === SET_UP;
}

function tell(answer: SetupAnswer | undefined): void {
  const text = answer ? describeOutcome(answer) : "";
  if (text === "") {
    return;
  }
  const show = answer?.outcome === "failed" ? vscode.window.showErrorMessage : vscode.window.showInformationMessage;
  void show(`Tabcast: ${text}`);
}
