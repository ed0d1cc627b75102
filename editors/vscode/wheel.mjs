// Builds Tabcast's own wheel into out/, for the extension to install. Needs a Python with pip, and the package hatchling.
// PYTHON names it; otherwise the project's .venv, or python3. TABCAST_NO_WHEEL=1 packs the extension without one.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const out = path.join(import.meta.dirname, "out");
mkdirSync(out, { recursive: true });
for (const file of readdirSync(out).filter((name) => name.endsWith(".whl"))) {
  rmSync(path.join(out, file));
}
if (process.env.TABCAST_NO_WHEEL !== "1") {
  const own = path.join(root, ".venv", "bin", "python");
  const python = process.env.PYTHON || (existsSync(own) ? own : "python3");
  const offline = ["-c", "import hatchling"];
  let isolation = [];
  try {
    execFileSync(python, offline, { stdio: "ignore" });
    isolation = ["--no-build-isolation"]; // what the build needs is there: nothing is downloaded
  } catch {
    // pip gets it
  }
  const argv = ["-m", "pip", "wheel", "--quiet", "--no-deps", ...isolation, "--wheel-dir", out, root];
  execFileSync(python, argv, { stdio: "inherit" });
}
