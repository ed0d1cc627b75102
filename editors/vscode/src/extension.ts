// Entry point: wires the language server, its status item and the commands together. Knows nothing of how any works.

import * as vscode from "vscode";

import { registerCommands } from "./commands";
import { Finder } from "./finder";
import { Server } from "./server";
import { StatusItem } from "./status";

let server: Server | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const output = vscode.window.createOutputChannel("Tabcast", { log: true });
  const status = new StatusItem();
  const finder = new Finder(context, output);
  const restart = (): void => void running.restart();
  const running = new Server({
    output,
    onState: (state) => {
      status.show(state);
    },
    command: () =>
      finder.command((reason) => {
        status.show({ kind: "failed", detail: reason });
      }, restart),
    onGivenUp: (reason) => {
      void offerLog(reason, output, restart);
    },
    version: (context.extension.packageJSON as { version: string }).version,
  });
  server = running;
  context.subscriptions.push(
    output,
    status,
    running,
    ...registerCommands(running, output, () => finder.install(restart)),
    vscode.workspace.onDidGrantWorkspaceTrust(restart),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("tabcast.server")) {
        restart();
      }
    }),
  );
  await running.restart();
}

/** VS Code waits for this, so that the server ends with the window. */
export function deactivate(): Promise<void> | undefined {
  return server?.stop();
}

async function offerLog(reason: string, output: vscode.LogOutputChannel, restart: () => void): Promise<void> {
  const [showLog, again] = ["Show Log", "Restart"];
  const choice = await vscode.window.showErrorMessage(`Tabcast: ${reason}, five times in a row.`, showLog, again);
  if (choice === showLog) {
    output.show();
  } else if (choice === again) {
    restart();
  }
}
