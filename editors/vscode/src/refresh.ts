// Asks again for what is shown, when the server has another text for it. Knows nothing of the server.

import * as vscode from "vscode";

/** What the server tells with `tabcast/refresh`. */
export interface RefreshParams {
  readonly uri: string;
}

/** Asks again in the name of the server, so that the request counts as one that nobody asked by hand. */
export class Refresh {
  #isOurs = false;

  /** Asks again if that document is the one in front. */
  async ask({ uri }: RefreshParams): Promise<void> {
    const document = vscode.window.activeTextEditor?.document;
    if (document === undefined || document.uri.toString() !== vscode.Uri.parse(uri).toString()) {
      return;
    }
    this.#isOurs = true;
    try {
      // What is shown stays in front of any other answer as long as it is shown.
      await vscode.commands.executeCommand("editor.action.inlineSuggest.hide");
      await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
    } finally {
      this.#isOurs = false;
    }
  }

  /** The context of a request as the server should see it. */
  context(context: vscode.InlineCompletionContext): vscode.InlineCompletionContext {
    return this.#isOurs ? { ...context, triggerKind: vscode.InlineCompletionTriggerKind.Automatic } : context;
  }
}
