// Which program is the language server: setting, selected Python environment, PATH, own environment, in this order.
// Knows no editor: what it needs of one is handed over, so that it can be tested without.

import * as path from "node:path";

/** A program and the arguments that make it the `tabcast` command. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  /** Where it was found, for people. */
  readonly origin: string;
}

export type Located =
  | { readonly kind: "found"; readonly command: Command }
  | { readonly kind: "bad-setting"; readonly reason: string }
  | { readonly kind: "absent" };

export interface Surroundings {
  /** The setting `tabcast.server.path`; no workspace can set it. */
  readonly configured: string;
  /** The Python of the selected environment; undefined without one, or in an untrusted workspace. */
  readonly selectedPython: () => Promise<string | undefined>;
  /** The Python of the environment that the extension made itself, if it did. */
  readonly ownPython: () => Promise<string | undefined>;
  readonly searchPath: readonly string[];
  readonly isWindows: boolean;
  readonly isExecutable: (file: string) => Promise<boolean>;
  /** Whether a Python has the package. */
  readonly hasServer: (python: string) => Promise<boolean>;
}

/** With -P, so that nothing in a working directory can take the package's place. */
export function moduleCommand(python: string, origin: string): Command {
  return { program: python, args: ["-P", "-m", "lsp_server"], origin };
}

export async function locate(around: Surroundings): Promise<Located> {
  const { configured } = around;
  if (configured !== "") {
    if (!path.isAbsolute(configured) || !(await around.isExecutable(configured))) {
      return {
        kind: "bad-setting",
        reason: `tabcast.server.path is not the absolute path of a program: ${configured}`,
      };
    }
    return { kind: "found", command: { program: configured, args: [], origin: "the setting tabcast.server.path" } };
  }
  const selected = await around.selectedPython();
  if (selected !== undefined && (await around.hasServer(selected))) {
    return { kind: "found", command: moduleCommand(selected, "the selected Python environment") };
  }
  const name = around.isWindows ? "tabcast.exe" : "tabcast";
  for (const directory of around.searchPath) {
    const candidate = path.join(directory, name);
    // A relative entry would be looked up in whatever folder the editor was started from.
    if (path.isAbsolute(directory) && (await around.isExecutable(candidate))) {
      return { kind: "found", command: { program: candidate, args: [], origin: "the PATH" } };
    }
  }
  const own = await around.ownPython();
  if (own !== undefined) {
    return { kind: "found", command: moduleCommand(own, "the extension's own environment") };
  }
  return { kind: "absent" };
}
