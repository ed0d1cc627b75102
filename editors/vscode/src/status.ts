// The items in the status bar and in the language status menu. Show a state they are given; start and stop nothing.

import * as vscode from "vscode";

import { describe, type ServerState } from "./state";

// The editor's own items on this side have 100 and a little more.
const PRIORITY = 110;

export class StatusItem implements vscode.Disposable {
  readonly #item: vscode.LanguageStatusItem;
  readonly #bar: vscode.StatusBarItem;

  constructor() {
    this.#item = vscode.languages.createLanguageStatusItem("tabcast", [{ scheme: "file" }, { scheme: "untitled" }, { notebookType: "*" }]);
    this.#item.name = "Tabcast";
    this.#item.command = { command: "tabcast.showMenu", title: "Commands" };
    // To the left of the editor's own items, which would move whenever this one's text changes.
    this.#bar = vscode.window.createStatusBarItem("tabcast", vscode.StatusBarAlignment.Right, PRIORITY);
    this.#bar.name = "Tabcast";
    this.#bar.command = "tabcast.showMenu";
    this.#bar.show();
  }

  show(state: ServerState): void {
    const { text, icon, detail, isBusy, severity } = describe(state);
    this.#bar.text = isBusy ? `$(${icon}) ${text.replace("Tabcast: ", "")}` : `$(${icon})`;
    this.#bar.tooltip = [text, detail].filter((part) => part !== "").join("\n");
    this.#bar.accessibilityInformation = { label: text };
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
    this.#bar.dispose();
  }
}
