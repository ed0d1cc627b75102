// The commands of the palette and of the status item. What they do is done by the server or by the one who runs it.

import * as vscode from "vscode";

import type { ModelSetup } from "./modelSetup";
import { PAGE_SCHEME, Pages } from "./pages";
import type { Server } from "./server";

const SNOOZE_MINUTES = 5;
const MENU = "tabcast.showMenu";

/** A command as the manifest has it. */
interface Described {
  readonly command: string;
  readonly title: string;
}

interface Models {
  readonly models: readonly string[];
  readonly selected: string;
  readonly problem: string;
}

/** What a command of the server answers; undefined if none runs, which the user is told. */
async function ask<T>(server: Server, command: string, ...args: unknown[]): Promise<T | undefined> {
  const answer = await server.execute<T>(`tabcast.server.${command}`, ...args);
  if (answer === undefined) {
    await tellNone(server);
  }
  return answer;
}

async function tellNone(server: Server): Promise<void> {
  const [told, start] = ["Tabcast: no language server is running.", "Start"];
  if ((await vscode.window.showWarningMessage(told, start)) === start) {
    await server.restart();
  }
}

async function selectModel(server: Server): Promise<void> {
  const offered = await ask<Models>(server, "selectModel");
  const choice = offered && (await vscode.window.showQuickPick([...offered.models], { placeHolder: offered.selected }));
  if (choice !== undefined) {
    const answer = await ask<Models>(server, "selectModel", choice);
    if (answer !== undefined && answer.problem !== "") {
      void vscode.window.showErrorMessage(`Tabcast: ${answer.problem}`);
    }
  }
}

/** Keeps suggestions away for a while; what is shown goes, and a button ends it. */
async function snooze(server: Server, minutes: number): Promise<void> {
  const answer = await ask<{ readonly minutes: number }>(server, "snooze", minutes);
  if (answer === undefined || answer.minutes === 0) {
    return;
  }
  await vscode.commands.executeCommand("editor.action.inlineSuggest.hide");
  const [told, end] = [`Tabcast: no suggestions for ${answer.minutes.toString()} minutes.`, "Suggest Again"];
  void vscode.window.showInformationMessage(told, end).then((choice) => {
    if (choice === end) {
      void ask(server, "snooze", 0);
    }
  });
}

export function registerCommands(
  server: Server,
  output: vscode.LogOutputChannel,
  setup: ModelSetup,
  install: () => Promise<void>,
  described: readonly Described[],
): vscode.Disposable[] {
  const pages = new Pages();
  const actions: Record<string, (argument?: unknown) => unknown> = {
    toggle: () => ask(server, "toggle"),
    snooze: (minutes?: unknown) => snooze(server, typeof minutes === "number" ? minutes : SNOOZE_MINUTES),
    forgetHabits: async () => {
      const answer = await ask<{ readonly problem: string }>(server, "forgetHabits");
      if (answer !== undefined && answer.problem !== "") {
        void vscode.window.showErrorMessage(`Tabcast: ${answer.problem}`);
      }
    },
    why: async () => {
      const answer = await ask<{ readonly report: string }>(server, "why");
      await (answer && pages.show("Tabcast: Why", answer.report));
    },
    stats: async () => {
      const answer = await ask<{ readonly report: string }>(server, "stats");
      await (answer && pages.show("Tabcast: Statistics", answer.report));
    },
    selectModel: () => selectModel(server),
    setUpModel: () => setup.setUp(() => tellNone(server)),
    undoSetup: () => setup.undo(() => tellNone(server)),
    restartServer: () => server.restart(),
    restartEngine: () => ask(server, "restartEngine"),
    showOutput: () => {
      output.show();
    },
    installServer: install,
  };
  const showMenu = async (): Promise<void> => {
    const items = described.filter(({ command }) => command !== MENU).map(({ command, title }) => ({ command, label: title }));
    const choice = await vscode.window.showQuickPick(items, { placeHolder: "Tabcast" });
    if (choice !== undefined) {
      await vscode.commands.executeCommand(choice.command);
    }
  };
  return [
    vscode.workspace.registerTextDocumentContentProvider(PAGE_SCHEME, pages),
    vscode.commands.registerCommand(MENU, showMenu),
    ...Object.entries(actions).map(([name, action]) => vscode.commands.registerCommand(`tabcast.${name}`, action)),
  ];
}
