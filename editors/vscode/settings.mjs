// Writes the server's settings into package.json: `tabcast lsp --settings-schema | npm run settings`.
// What the extension itself knows (tabcast.server.*, tabcast.trace.*) stays as it is.

import { readFileSync, writeFileSync } from "node:fs";

const manifest = JSON.parse(readFileSync("package.json", "utf8"));
const schema = JSON.parse(readFileSync(0, "utf8"));
const { configuration } = manifest.contributes;
const own = Object.entries(configuration.properties).filter(([name]) => /^tabcast\.(server|trace)\./.test(name));
const ofServer = Object.entries(schema.properties).map(([name, { description, ...property }]) => [
  `tabcast.${name}`,
  { ...property, scope: "window", markdownDescription: description },
]);
configuration.properties = Object.fromEntries([...own, ...ofServer]);
writeFileSync("package.json", `${JSON.stringify(manifest, null, 2)}\n`);
