// Tells where the cursor comes to rest, so that a slow model reads that place ahead. Knows nothing of the server.

import * as vscode from "vscode";

/** A cursor that goes on within this time has not come to rest. */
const REST_MS = 100;

/** Calls `onRest` when the active editor's cursor, or another editor, has stayed for a while. */
export class RestingCursor implements vscode.Disposable {
  readonly #onRest: (document: vscode.TextDocument, position: vscode.Position) => void;
  readonly #listeners: vscode.Disposable[];
  #timer: NodeJS.Timeout | undefined;

  constructor(onRest: (document: vscode.TextDocument, position: vscode.Position) => void) {
    this.#onRest = onRest;
    this.#listeners = [
      vscode.window.onDidChangeTextEditorSelection(({ textEditor }) => {
        this.#wait(textEditor);
      }),
      vscode.window.onDidChangeActiveTextEditor((editor) => {
        this.#wait(editor);
      }),
    ];
  }

  dispose(): void {
    clearTimeout(this.#timer);
    for (const listener of this.#listeners) {
      listener.dispose();
    }
  }

  #wait(editor: vscode.TextEditor | undefined): void {
    clearTimeout(this.#timer);
    if (editor !== undefined && editor === vscode.window.activeTextEditor) {
      this.#timer = setTimeout(() => {
        this.#onRest(editor.document, editor.selection.active);
      }, REST_MS);
    }
  }
}
