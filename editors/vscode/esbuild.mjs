// Bundles the extension and the language client into one file, and the licences of all that is in it into another.
// With --tests: the unit tests into out/tests, for `node --test`.
import { readdir, readFile, rm, writeFile } from "node:fs/promises";

import { build } from "esbuild";

const production = process.argv.includes("--production");
const shared = { bundle: true, format: "cjs", platform: "node", target: "node20", logLevel: "warning" };

if (process.argv.includes("--tests")) {
  await rm("out/tests", { recursive: true, force: true });
  const entryPoints = (await readdir("test")).map((name) => `test/${name}`);
  // A module that imports the editor can't be tested without it, so that import is left to fail.
  await build({ ...shared, entryPoints, outdir: "out/tests", outExtension: { ".js": ".cjs" }, external: ["vscode"] });
} else {
  const { metafile } = await build({
    ...shared,
    entryPoints: ["src/extension.ts"],
    outfile: "out/extension.js",
    external: ["vscode"],
    minify: production,
    sourcemap: production ? false : "linked",
    metafile: true,
  });
  await writeFile("out/NOTICES.txt", await notices(Object.keys(metafile.inputs)));
}

async function notices(inputs) {
  const packages = new Set(inputs.flatMap((input) => input.match(/^node_modules\/(?:@[^/]+\/)?[^/]+/) ?? []));
  const texts = await Promise.all(
    [...packages].sort().map(async (folder) => {
      const licence = (await readdir(folder)).find((name) => /^licen[cs]e/i.test(name));
      if (licence === undefined) {
        throw new Error(`${folder} is bundled but has no licence file`);
      }
      return `${folder.slice("node_modules/".length)}\n\n${await readFile(`${folder}/${licence}`, "utf8")}`;
    }),
  );
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}
