// The commands of the palette and of the status item. What they do is done by the server or by the one who runs it.

import * as vscode from "vscode";

import { statsReport, whyReport, type Why } from "./report";
import type { Server } from "./server";

const SCHEME = "tabcast";

interface Models {
  readonly models: readonly string[];
  readonly selected: string;
  readonly problem: string;
}

/** Read-only pages with what a command answered. */
class Reports implements vscode.TextDocumentContentProvider {
  readonly #texts = new Map<string, string>();
  readonly #changed = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.#changed.event;

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.#texts.get(uri.path) ?? "";
  }

  async show(name: string, text: string): Promise<void> {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: name });
    this.#texts.set(uri.path, text);
    this.#changed.fire(uri);
    await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(uri), { preview: true });
  }
}

async function selectModel(server: Server): Promise<void> {
  const offered = await server.execute<Models>("tabcast.server.selectModel");
  const choice = offered && (await vscode.window.showQuickPick([...offered.models], { placeHolder: offered.selected }));
  if (choice !== undefined) {
    const answer = await server.execute<Models>("tabcast.server.selectModel", choice);
    if (answer !== undefined && answer.problem !== "") {
      void vscode.window.showErrorMessage(`Tabcast: ${answer.problem}`);
    }
  }
}

export function registerCommands(
  server: Server,
  output: vscode.LogOutputChannel,
  install: () => Promise<void>,
): vscode.Disposable[] {
  const reports = new Reports();
  const actions: Record<string, () => unknown> = {
    toggle: () => server.execute("tabcast.server.toggle"),
    why: async () => {
      const answer = await server.execute<Why>("tabcast.server.why");
      await reports.show("Tabcast: Why", answer === undefined ? "No language server is running." : whyReport(answer));
    },
    stats: async () => {
      const answer = await server.execute<object>("tabcast.server.stats");
      await reports.show("Tabcast: Statistics", answer === undefined ? "No language server is running." : statsReport(answer));
    },
    selectModel: () => selectModel(server),
    restartServer: () => server.restart(),
    restartEngine: () => server.execute("tabcast.server.restartEngine"),
    showOutput: () => {
      output.show();
    },
    installServer: install,
  };
  const titles: Record<string, string> = {
    toggle: "Turn Suggestions Off or On",
    why: "Why Was This Suggested, or Nothing?",
    stats: "Statistics",
    selectModel: "Select Model…",
    restartServer: "Restart Language Server",
    restartEngine: "Restart Engine",
    showOutput: "Show Log",
  };
  const showMenu = async (): Promise<void> => {
    const items = Object.entries(titles).map(([name, label]) => ({ name, label }));
    const choice = await vscode.window.showQuickPick(items, { placeHolder: "Tabcast" });
    if (choice !== undefined) {
      await actions[choice.name]?.();
    }
  };
  return [
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, reports),
    vscode.commands.registerCommand("tabcast.showMenu", showMenu),
    ...Object.entries(actions).map(([name, action]) => vscode.commands.registerCommand(`tabcast.${name}`, action)),
  ];
}
