// The extension's own settings, read and typed. All choose programs or models, so they are set for the machine alone.

import * as vscode from "vscode";

/** The settings `tabcast.server.NAME` that become the server's options `--NAME`. */
export const ENGINE_OPTIONS = ["model", "draft", "device", "dtype", "quantize"] as const;

function read(name: string): string {
  return vscode.workspace.getConfiguration("tabcast.server").get<string>(name, "").trim();
}

export function serverPath(): string {
  return read("path");
}

/** What the user set of the engine, as the server's command line. */
export function engineArguments(): string[] {
  return ENGINE_OPTIONS.flatMap((name) => {
    const value = read(name);
    return value === "" ? [] : [`--${name}`, value];
  });
}
