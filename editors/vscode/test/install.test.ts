import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { after, test } from "node:test";

import { findPython, install, installedPython, packedWheel, run } from "../src/install";

const folder = mkdtempSync(path.join(os.tmpdir(), "tabcast-install-"));
after(() => {
  rmSync(folder, { recursive: true });
});
process.env["PIP_NO_INDEX"] = "1"; // the wheel of these tests needs nothing
const silent = (): void => undefined;

/** A wheel with a module `lsp_server` that prints its arguments. */
function makeWheel(requirement: string): string {
  const wheel = path.join(folder, "tabcast-9.9.9-py3-none-any.whl");
  const script = `
import sys, zipfile
info = "tabcast-9.9.9.dist-info/"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("lsp_server/__main__.py", "import sys; print(*sys.argv[1:])")
    wheel.writestr("lsp_server/__init__.py", "")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tabcast\\nVersion: 9.9.9\\n" + sys.argv[2])
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "RECORD", "")
`;
  execFileSync("python3", ["-c", script, wheel, requirement]);
  return wheel;
}

test("the packed wheel becomes an environment that runs it", async () => {
  const [python, environment] = [await findPython(["/missing", "python3"]), path.join(folder, "good")];
  assert.equal(python, "python3");
  assert.equal(await installedPython(environment), undefined);
  const wheel = makeWheel("");
  assert.equal(await install(python, wheel, environment, new AbortController().signal, silent), undefined);
  const own = await installedPython(environment);
  assert.ok(own !== undefined);
  assert.equal((await run([own, "-P", "-m", "lsp_server", "lsp"])).output.trim(), "lsp");
});

test("what can't be installed leaves nothing behind", async () => {
  const environment = path.join(folder, "bad");
  const wheel = makeWheel("Requires-Dist: a-package-that-is-nowhere\n");
  const problem = await install("python3", wheel, environment, new AbortController().signal, silent);
  assert.match(problem ?? "", /pip failed: .*a-package-that-is-nowhere/s);
  assert.equal(await installedPython(environment), undefined);
  assert.ok(!existsSync(environment));
});

test("cancelling leaves nothing behind", async () => {
  const environment = path.join(folder, "cancelled");
  const abort = new AbortController();
  const installing = install("python3", makeWheel(""), environment, abort.signal, silent);
  abort.abort();
  assert.notEqual(await installing, undefined);
  assert.ok(!existsSync(environment));
});

test("the wheel is found in the extension's folder", async () => {
  const extension = mkdtempSync(path.join(folder, "extension-"));
  execFileSync("mkdir", [path.join(extension, "out")]);
  assert.equal(await packedWheel(extension), undefined);
  writeFileSync(path.join(extension, "out", "tabcast-9.9.9-py3-none-any.whl"), "");
  assert.equal(path.basename((await packedWheel(extension)) ?? ""), "tabcast-9.9.9-py3-none-any.whl");
  assert.deepEqual(readdirSync(path.join(extension, "out")).length, 1);
});
