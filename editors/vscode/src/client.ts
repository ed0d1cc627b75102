// How the language client is set up. Knows nothing of when it is started or stopped.

import * as os from "node:os";

import type * as vscode from "vscode";
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  RevealOutputChannelOn,
  type ClientCapabilities,
  type FeatureState,
  type StaticFeature,
} from "vscode-languageclient/node";

import type { Command } from "./locate";
import type { ProgressValue } from "./progress";
import { Refresh, type RefreshParams } from "./refresh";

/** Announces that `tabcast/status` and `tabcast/refresh` are understood. */
class OwnCapabilities implements StaticFeature {
  fillClientCapabilities(capabilities: ClientCapabilities): void {
    capabilities.experimental = {
      ...(capabilities.experimental as object | undefined),
      tabcastStatus: true,
      tabcastRefresh: true,
    };
  }

  initialize(): void {
    // Nothing depends on what the server can do.
  }

  getState(): FeatureState {
    return { kind: "static" };
  }

  clear(): void {
    // Nothing is kept.
  }
}

/** Tells its errors to the log alone: a server that can't be started is told once, by whoever starts it. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

export function createClient(
  command: Command,
  engineArguments: readonly string[],
  output: vscode.LogOutputChannel,
  takesProgress: (token: number | string, value: ProgressValue) => boolean,
): LanguageClient {
  const refresh = new Refresh();
  const client = new QuietClient(
    "tabcast",
    "Tabcast",
    {
      command: command.program,
      args: [...command.args, "lsp", ...engineArguments],
      // The working directory is not the workspace, so that nothing in one can be imported or run by accident.
      options: { cwd: os.homedir(), env: { ...process.env, PYTHONSAFEPATH: "1" } },
    },
    {
      documentSelector: [{ scheme: "file" }, { scheme: "untitled" }, { scheme: "vscode-scm" }, { notebook: "*" }],
      outputChannel: output,
      // Completion is a convenience: trouble belongs in the log and the status item, not in a pop-up.
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      middleware: {
        provideInlineCompletionItems: (document, position, context, token, next) =>
          next(document, position, refresh.context(context), token),
        handleWorkDoneProgress: (token, value, next) => {
          if (!takesProgress(token, value)) {
            next(token, value);
          }
        },
      },
      initializationFailedHandler: () => false,
      // Restarting is our own subject, with pauses and a limit.
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => ({ action: CloseAction.DoNotRestart, handled: true }),
      },
    },
  );
  client.registerFeature(new OwnCapabilities());
  client.onNotification("tabcast/refresh", (params: RefreshParams) => refresh.ask(params));
  return client;
}
