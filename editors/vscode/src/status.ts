// The item in the language status menu. Shows a state it is given; starts and stops nothing.

import * as vscode from "vscode";

import type { ServerState } from "./server";

export class StatusItem implements vscode.Disposable {
  readonly #item: vscode.LanguageStatusItem;

  constructor() {
    this.#item = vscode.languages.createLanguageStatusItem("tabcast", [{ scheme: "file" }, { scheme: "untitled" }]);
    this.#item.name = "Tabcast";
    this.#item.command = { command: "tabcast.showOutput", title: "Show Output" };
  }

  show(state: ServerState): void {
    this.#item.text = `Tabcast: ${state.kind}`;
    this.#item.detail = state.kind === "failed" ? state.reason : state.detail;
    this.#item.busy = state.kind === "starting";
    this.#item.severity =
      state.kind === "failed" ? vscode.LanguageStatusSeverity.Error : vscode.LanguageStatusSeverity.Information;
  }

  dispose(): void {
    this.#item.dispose();
  }
}
