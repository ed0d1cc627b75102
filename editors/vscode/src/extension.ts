// Entry point: wires the language server, its status item and the commands together. Knows nothing of how either works.

import * as vscode from "vscode";

import { Server } from "./server";
import { StatusItem } from "./status";

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const output = vscode.window.createOutputChannel("Tabcast", { log: true });
  const status = new StatusItem();
  const server = new Server(output, (state) => {
    status.show(state);
  });
  context.subscriptions.push(
    output,
    status,
    server,
    vscode.commands.registerCommand("tabcast.restartServer", () => server.restart()),
    vscode.commands.registerCommand("tabcast.showOutput", () => {
      output.show();
    }),
    vscode.workspace.onDidChangeConfiguration(async (event) => {
      if (event.affectsConfiguration("tabcast.server")) {
        await server.restart();
      }
    }),
  );
  await server.restart();
}
