// The item in the language status menu. Shows a state it is given; starts and stops nothing.

import * as vscode from "vscode";

import { describe, type ServerState } from "./state";

export class StatusItem implements vscode.Disposable {
  readonly #item: vscode.LanguageStatusItem;

  constructor() {
    this.#item = vscode.languages.createLanguageStatusItem("tabcast", [{ scheme: "file" }, { scheme: "untitled" }, { notebookType: "*" }]);
    this.#item.name = "Tabcast";
    this.#item.command = { command: "tabcast.showMenu", title: "Commands" };
  }

  show(state: ServerState): void {
    const { text, detail, isBusy, severity } = describe(state);
    this.#item.text = text;
    this.#item.detail = detail;
    this.#item.busy = isBusy;
    this.#item.severity = {
      error: vscode.LanguageStatusSeverity.Error,
      warning: vscode.LanguageStatusSeverity.Warning,
      information: vscode.LanguageStatusSeverity.Information,
    }[severity];
  }

  dispose(): void {
    this.#item.dispose();
  }
}
