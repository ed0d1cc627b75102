// Finds the server's command for this window, and offers to install the packed one where there is none.

import { constants } from "node:fs";
import { access, mkdir, stat } from "node:fs/promises";
import * as os from "node:os";
import * as path from "node:path";

import * as vscode from "vscode";

import { serverPath } from "./config";
import { findPython, install, installedPython, packedWheel, run } from "./install";
import { locate, type Command, type Located } from "./locate";
import { selectedPython } from "./python";

export class Finder {
  readonly #context: vscode.ExtensionContext;
  readonly #output: vscode.LogOutputChannel;
  // One message a session: who said no is not asked at each restart.
  #hasAsked = false;

  constructor(context: vscode.ExtensionContext, output: vscode.LogOutputChannel) {
    this.#context = context;
    this.#output = output;
  }

  get #environment(): string {
    const { version } = this.#context.extension.packageJSON as { version: string };
    return path.join(this.#context.globalStorageUri.fsPath, `server-${version}`);
  }

  locate(): Promise<Located> {
    const folders = (process.env["PATH"] ?? "").split(path.delimiter);
    return locate({
      configured: serverPath(),
      selectedPython,
      ownPython: () => installedPython(this.#environment),
      // pipx and uv put commands there, which is not on the PATH of a desktop's programs everywhere.
      searchPath: [...folders, path.join(os.homedir(), ".local", "bin")],
      isWindows: process.platform === "win32",
      isExecutable,
      hasServer: async (python) => (await run([python, "-P", "-c", "import lsp_server, decoding.protocol"])).code === 0,
    });
  }

  /** The command; undefined if there is none, after telling the user what can be done. */
  async command(onAbsent: (reason: string) => void, retry: () => void): Promise<Command | undefined> {
    const located = await this.locate();
    if (located.kind === "found") {
      return located.command;
    }
    const reason = located.kind === "absent" ? "no tabcast command was found" : located.reason;
    this.#output.error(reason);
    onAbsent(reason);
    if (!this.#hasAsked) {
      this.#hasAsked = true;
      void this.#offer(located, reason, retry);
    }
    return undefined;
  }

  async #offer(located: Located, reason: string, retry: () => void): Promise<void> {
    const canInstall = located.kind === "absent" && (await packedWheel(this.#context.extensionPath)) !== undefined;
    const [doInstall, openSettings] = ["Install…", "Open Settings"];
    const choices = canInstall ? [doInstall, openSettings] : [openSettings];
    const choice = await vscode.window.showErrorMessage(`Tabcast: ${reason}.`, ...choices);
    if (choice === doInstall) {
      await this.install(retry);
    } else if (choice === openSettings) {
      await vscode.commands.executeCommand("workbench.action.openSettings", "tabcast.server.path");
    }
  }

  /** Installs the packed server after asking; `then` is called when it is there. */
  async install(then: () => void): Promise<void> {
    const wheel = await packedWheel(this.#context.extensionPath);
    const python = await findPython(await pythonCandidates());
    if (wheel === undefined || python === undefined) {
      const problem = wheel === undefined ? "this extension was packed without a server" : "Python 3.11 or later is needed";
      void vscode.window.showErrorMessage(`Tabcast: ${problem}.`);
      return;
    }
    const yes = "Install";
    const detail =
      `${path.basename(wheel)} comes with this extension. What it needs (0.4 GB; with an NVIDIA GPU also ` +
      `torch, 5 GB) is downloaded from your Python package index.\n\n${python} -m venv ${this.#environment}`;
    const question = "Install the Tabcast server into an environment of its own?";
    if ((await vscode.window.showInformationMessage(question, { modal: true, detail }, yes)) !== yes) {
      return;
    }
    const problem = await this.#installWithProgress(python, wheel);
    if (problem === undefined) {
      then();
      return;
    }
    const showLog = "Show Log";
    if ((await vscode.window.showErrorMessage(`Tabcast was not installed: ${problem}`, showLog)) === showLog) {
      this.#output.show();
    }
  }

  async #installWithProgress(python: string, wheel: string): Promise<string | undefined> {
    await mkdir(this.#context.globalStorageUri.fsPath, { recursive: true });
    const options = { location: vscode.ProgressLocation.Notification, title: "Installing Tabcast", cancellable: true };
    return vscode.window.withProgress(options, (progress, token) => {
      const abort = new AbortController();
      token.onCancellationRequested(() => {
        abort.abort();
      });
      return install(python, wheel, this.#environment, abort.signal, (line) => {
        this.#output.info(line);
        progress.report({ message: line.slice(0, 80) });
      });
    });
  }
}

async function pythonCandidates(): Promise<string[]> {
  const selected = await selectedPython();
  const names = ["python3", "python3.13", "python3.12", "python3.11", "python"];
  return selected === undefined ? names : [selected, ...names];
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}
