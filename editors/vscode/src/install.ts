// Installs the packed wheel into an environment of its own. Knows no editor; who calls it has the user's consent.
//
// The wheel is a file of this extension, never a package of that name from an index; what it depends on comes from
// the index that the user's pip is set up for.

import { spawn } from "node:child_process";
import { access, readdir, rm, writeFile } from "node:fs/promises";
import * as os from "node:os";
import * as path from "node:path";

export const MIN_PYTHON = [3, 11] as const;

export interface Run {
  readonly code: number | null;
  readonly output: string;
}

/** Runs a program in the home directory, where no workspace's files can take the place of a module. */
export function run(argv: readonly [string, ...string[]], signal?: AbortSignal, onLine?: (line: string) => void): Promise<Run> {
  const [program, ...args] = argv;
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: os.homedir(),
      env: { ...process.env, PYTHONSAFEPATH: "1", PIP_DISABLE_PIP_VERSION_CHECK: "1", PIP_NO_INPUT: "1" },
      stdio: ["ignore", "pipe", "pipe"],
      ...(signal === undefined ? {} : { signal }),
    });
    let output = "";
    const take = (chunk: Buffer): void => {
      const text = chunk.toString();
      output += text;
      for (const line of text.split(/\r?\n/)) {
        if (line.trim() !== "") {
          onLine?.(line.trim());
        }
      }
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.on("error", (error) => {
      resolve({ code: null, output: output + error.message });
    });
    child.on("close", (code) => {
      resolve({ code, output });
    });
  });
}

export async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false;
  }
}

export function pythonOf(environment: string): string {
  return process.platform === "win32"
    ? path.join(environment, "Scripts", "python.exe")
    : path.join(environment, "bin", "python");
}

/** The wheel that is packed in the extension; undefined in an extension that was packed without. */
export async function packedWheel(extensionPath: string): Promise<string | undefined> {
  const folder = path.join(extensionPath, "out");
  const name = (await readdir(folder)).find((file) => file.endsWith(".whl"));
  return name === undefined ? undefined : path.join(folder, name);
}

/** The first of these programs that is a Python new enough. */
export async function findPython(candidates: readonly string[]): Promise<string | undefined> {
  const [major, minor] = MIN_PYTHON;
  for (const candidate of candidates) {
    const check = `import sys, venv, ensurepip; sys.exit(sys.version_info < (${String(major)}, ${String(minor)}))`;
    if ((await run([candidate, "-c", check])).code === 0) {
      return candidate;
    }
  }
  return undefined;
}

/** A GPU needs torch, which brings gigabytes; a CPU needs none. */
async function withTorchForGpu(wheel: string): Promise<string> {
  return (await exists("/proc/driver/nvidia")) ? `${wheel}[torch]` : wheel;
}

/**
 * Makes the environment, in place of one that is there, and returns undefined; or what went wrong.
 */
export async function install(
  python: string,
  wheel: string,
  environment: string,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<string | undefined> {
  await rm(environment, { recursive: true, force: true });
  const made = await run([python, "-m", "venv", environment], signal, onLine);
  if (made.code !== 0) {
    await rm(environment, { recursive: true, force: true });
    return `no environment could be made: ${lastLines(made.output)}`;
  }
  const argv: [string, ...string[]] = [pythonOf(environment), "-m", "pip", "install", await withTorchForGpu(wheel)];
  const filled = await run(argv, signal, onLine);
  if (filled.code !== 0) {
    await rm(environment, { recursive: true, force: true });
    return signal.aborted ? "it was cancelled" : `pip failed: ${lastLines(filled.output)}`;
  }
  await writeFile(markerOf(environment), path.basename(wheel));
  return undefined;
}

/** Written last, so that an environment that was left half filled is never taken for a whole one. */
function markerOf(environment: string): string {
  return path.join(environment, "tabcast-installed");
}

/** The Python of an environment that was installed to the end. */
export async function installedPython(environment: string): Promise<string | undefined> {
  return (await exists(markerOf(environment))) ? pythonOf(environment) : undefined;
}

function lastLines(output: string): string {
  return output.trim().split("\n").slice(-3).join(" ");
}
