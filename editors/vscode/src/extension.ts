// Entry point: wires the language server, its status item and the commands together. Knows nothing of how any works.

import * as vscode from "vscode";

import { registerCommands } from "./commands";
import { Finder } from "./finder";
import { ModelSetup } from "./modelSetup";
import { EngineNotice, GRACE_MS } from "./notice";
import { RestingCursor } from "./rest";
import { Server } from "./server";
import { StatusItem } from "./status";

/** What is read of package.json. */
interface Manifest {
  readonly version: string;
  readonly contributes: { readonly commands: readonly { readonly command: string; readonly title: string }[] };
}

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const output = vscode.window.createOutputChannel("Tabcast", { log: true });
  const status = new StatusItem();
  const finder = new Finder(context, output);
  const { version, contributes } = context.extension.packageJSON as Manifest;
  const restart = (): void => void running.restart();
  const notice = new EngineNotice(GRACE_MS, (reason) => {
    void offerLog(`${reason}.`, output, "Restart Engine", () => void vscode.commands.executeCommand("tabcast.restartEngine"));
  });
  let isVersionTold = false;
  const running = new Server({
    output,
    onState: (state) => {
      status.show(state);
      const engine = state.kind === "running" ? state.engine : undefined;
      notice.update(engine);
      setup.update(engine);
    },
    command: () =>
      finder.command((reason) => {
        status.show({ kind: "failed", detail: reason });
      }, restart),
    onGivenUp: (reason) => {
      void offerLog(`${reason}, six times in a row.`, output, "Restart", restart);
    },
    onOtherVersion: (theirs, program) => {
      if (!isVersionTold) {
        isVersionTold = true;
        void offerSettings(`${program} has version ${theirs} and this extension ${version}: update the older one.`);
      }
    },
    version,
  });
  const setup = new ModelSetup(running, output, context.globalState);
  server = running;
  context.subscriptions.push(
    output,
    status,
    notice,
    running,
    new RestingCursor((document, position) => {
      running.rested(document, position);
    }),
    ...registerCommands(running, output, setup, () => finder.install(restart), contributes.commands),
    vscode.workspace.onDidGrantWorkspaceTrust(restart),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("tabcast.server")) {
        restart();
      }
    }),
  );
  restart(); // nobody waits for the server
}

/** VS Code waits for this, so that the server ends with the window. */
export function deactivate(): Promise<void> | undefined {
  return server?.stop();
}

async function offerLog(
  reason: string,
  output: vscode.LogOutputChannel,
  again: string,
  tryAgain: () => void,
): Promise<void> {
  const showLog = "Show Log";
  const choice = await vscode.window.showErrorMessage(`Tabcast: ${reason}`, showLog, again);
  if (choice === showLog) {
    output.show();
  } else if (choice === again) {
    tryAgain();
  }
}

async function offerSettings(reason: string): Promise<void> {
  const openSettings = "Open Settings";
  if ((await vscode.window.showWarningMessage(`Tabcast: ${reason}`, openSettings)) === openSettings) {
    await vscode.commands.executeCommand("workbench.action.openSettings", "tabcast.server.path");
  }
}
