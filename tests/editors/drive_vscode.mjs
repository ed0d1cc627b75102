// Drives VS Code's workbench in a headless browser: one JSON command a line on standard input, one JSON answer a line
// on standard output. Arguments: the folder that holds playwright-core, the browser, the workbench's address, and where
// to put a picture when an action fails.
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";

const [folder, browserPath, address, pictureOfFailure] = process.argv.slice(2);
const { chromium } = createRequire(path.join(folder, "package.json"))("playwright-core");

const browser = await chromium.launch({
  executablePath: browserPath,
  // No sandbox: the tests may run as root. Nothing here may reach for the network.
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 1100, height: 620 } });
page.setDefaultTimeout(120_000);

const quickInput = page.locator(".quick-input-widget input").first();

function quickRow(text) {
  return page.locator(".quick-input-list .monaco-list-row", { hasText: text }).first();
}

// Opens the quick input by a key and writes into it, until a row of this text is there. A window that has just come up
// may not hear the key, a quick input that is visible may be on its way out, and the palette's list is made when it
// opens, so that one may be too early for an extension's commands.
async function find(key, text, row) {
  for (let tries = 0; tries < 20; tries++) {
    if (!(await quickInput.isVisible())) await page.keyboard.press(key);
    const isThere = await quickInput.fill(text, { timeout: 5000 })
      .then(() => quickRow(row).waitFor({ timeout: 5000 }))
      .then(() => true, () => false);
    if (isThere) return;
    if (await quickInput.isVisible()) await page.keyboard.press("Escape");
  }
  throw new Error(`the quick input shows no row of ${row}`);
}

async function pick(file, place) {
  await find("Control+p", file + place, path.basename(file));
  await page.keyboard.press("Enter");
  await page.locator(`.tab.active[data-resource-name="${path.basename(file)}"]`).waitFor();
  await quickInput.waitFor({ state: "hidden" });
}

async function run(title) {
  await find("F1", `>${title}`, title);
  await page.keyboard.press("Enter");
}

const actions = {
  async start() {
    await page.goto(address);
    await page.locator(".monaco-workbench").waitFor();
    await page.locator(".statusbar-item").first().waitFor();
  },
  // The editor before has the focus for a moment more, so it is the document that is waited for, and the cursor in it.
  async open({ file, line, column }) {
    await pick(file, `:${line}:${column}`);
    await page.locator(`.editor-instance .monaco-editor.focused[data-uri$="/${path.basename(file)}"]`).waitFor();
    const end = (await readFile(file, "utf8")).split("\n")[line - 1].length + 1;
    const place = new RegExp(column < end ? `Ln ${line}, Col ${column}\\b` : `Ln ${line}, Col `);
    await page.locator('.statusbar-item[id="status.editor.selection"]', { hasText: place }).waitFor();
  },
  // Puts the cursor at the end of a notebook's last cell.
  async openNotebook({ file }) {
    await pick(file, "");
    const lines = page.locator(".notebookOverlay .code-cell-row .view-lines").last();
    await lines.waitFor();
    await lines.click();
    await page.locator(".notebookOverlay .monaco-editor.focused").waitFor();
    await page.keyboard.press("Control+End");
  },
  type: ({ text }) => page.keyboard.type(text),
  press: ({ key }) => page.keyboard.press(key),
  async keys({ keys }) {
    for (const key of keys) await page.keyboard.press(key);
  },
  // Monaco draws the first line as pieces among the document's own text, and further lines as a block below it.
  async ghost() {
    const pieces = await page.locator(".ghost-text-decoration").allTextContents();
    const lines = await page.locator(".suggest-preview-text .view-line").allTextContents();
    return [pieces.join(""), ...lines].join("\n").replaceAll("\u00a0", " ");
  },
  // Runs a command by its title, as a user would.
  async command({ title }) {
    await run(title);
    await quickInput.waitFor({ state: "hidden" });
  },
  // Runs a command that asks, and says what it offers.
  async choices({ title }) {
    await run(title);
    await page.waitForFunction(() => document.querySelector(".quick-input-widget input").value === "");
    await page.locator(".quick-input-list .monaco-list-row").first().waitFor();
    return page.locator(".quick-input-list .monaco-list-row .label-name").allTextContents();
  },
  async choose({ choice }) {
    await quickRow(choice).click();
    await quickInput.waitFor({ state: "hidden" });
  },
  // What is in the language status menu, which shows as a hover. An item beside it that changes moves it away.
  async status() {
    const shown = page.locator(".hover-language-status").first();
    for (let tries = 0; tries < 20; tries++) {
      await page.locator('.statusbar-item[id="status.languageStatus"]').first().hover();
      if (await shown.waitFor({ timeout: 5000 }).then(() => true, () => false)) break;
      await page.mouse.move(400, 300);
    }
    const texts = await page.locator(".hover-language-status").allInnerTexts();
    await page.mouse.move(400, 300);
    return texts.join("\n");
  },
  // Clicks the extension's own item in the status bar once it says so, and tells what the menu offers.
  async bar({ label }) {
    await page.locator(`.statusbar-item [aria-label="${label}"]`).first().click();
    await quickInput.waitFor();
    const rows = page.locator(".quick-input-widget .monaco-list-row");
    await rows.first().waitFor();
    const offered = await rows.allInnerTexts();
    await page.keyboard.press("Escape");
    await quickInput.waitFor({ state: "hidden" });
    return offered.join("\n");
  },
  // The text of the editor in front, as far as it is in view.
  async text() {
    const lines = await page.locator(".editor-instance .view-lines .view-line").allTextContents();
    return lines.join("\n").replaceAll("\u00a0", " ");
  },
  buttons: () => page.locator(".notification-toast .monaco-button, .monaco-dialog-box .monaco-button").allTextContents(),
  click: ({ text }) => page.locator(".notification-toast .monaco-button, .monaco-dialog-box .monaco-button", { hasText: text }).first().click(),
  // How long from a key to the ghost text, in ms; -1 if none came within 5 s. Timed in the page itself, which listens
  // before the key is pressed.
  async latency({ key }) {
    await page.evaluate(() => {
      window.measuredMs = new Promise((resolve) => {
        const isShown = () => document.querySelector(".editor-instance .ghost-text-decoration") !== null;
        const look = (start) => {
          const ms = performance.now() - start;
          if (isShown() || ms > 5000) {
            resolve(isShown() ? ms : -1);
          } else {
            setTimeout(look, 2, start);
          }
        };
        addEventListener("keydown", () => look(performance.now()), { capture: true, once: true });
      });
    });
    await page.keyboard.press(key);
    return page.evaluate(() => window.measuredMs);
  },
  // What the list of running extensions says of one.
  async running({ name }) {
    await actions.command({ title: "Developer: Show Running Extensions" });
    const row = page.locator(".runtime-extensions-editor .monaco-list-row", { hasText: name }).first();
    await row.waitFor();
    const text = await row.innerText();
    await page.keyboard.press("Control+F4");
    return text;
  },
  messages: () => page.locator(".notification-list-item-message, .monaco-dialog-box").allTextContents(),
  async screenshot({ file }) {
    await page.screenshot({ path: file });
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { action, ...values } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await actions[action](values)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
    await page.screenshot({ path: pictureOfFailure }).catch(() => undefined);
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await browser.close();
