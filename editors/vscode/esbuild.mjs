// Bundles the extension and the language client into one file, and the licences of all that is in it into another.
import { readdir, readFile, writeFile } from "node:fs/promises";

import { build } from "esbuild";

const production = process.argv.includes("--production");

const { metafile } = await build({
  entryPoints: ["src/extension.ts"],
  outfile: "out/extension.js",
  bundle: true,
  external: ["vscode"],
  format: "cjs",
  platform: "node",
  target: "node20",
  minify: production,
  sourcemap: production ? false : "linked",
  metafile: true,
  logLevel: "warning",
});

const packages = new Set(
  Object.keys(metafile.inputs).flatMap((input) => input.match(/^node_modules\/(?:@[^/]+\/)?[^/]+/) ?? []),
);
const notices = await Promise.all(
  [...packages].sort().map(async (folder) => {
    const licence = (await readdir(folder)).find((name) => /^licen[cs]e/i.test(name));
    if (licence === undefined) {
      throw new Error(`${folder} is bundled but has no licence file`);
    }
    return `${folder.slice("node_modules/".length)}\n\n${await readFile(`${folder}/${licence}`, "utf8")}`;
  }),
);
await writeFile("out/NOTICES.txt", notices.join(`\n${"-".repeat(80)}\n\n`));
