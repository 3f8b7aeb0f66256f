/** The page's tab "HTTP API": each line that it shows, run in a shell as it stands, does what was done on the page. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Page } from "puppeteer-core";

import { enter, open, until } from "./browser.js";
import { Server } from "./server.js";

/** A name in which a shell, JSON, a URL and a screen each find something of their own. */
const NAME = "it's \"a\" $(touch x) `touch y` \\ & /?#%[1-9]  caf\u00e9\u0301 \u05d0";
/** A text with what cannot be seen, and a mark that is drawn over what stands before it. */
const TEXT = "\u0301hello it's <b>me</b> \u202e\"!\" \u{e0041}";

interface Shown {
  what: string;
  request: string;
  body: unknown;
  line: string;
}

/** What the tab has, the first first. */
async function shown(page: Page): Promise<Shown[]> {
  const items = await page.evaluate(() => {
    return [...document.querySelectorAll("#requests > li")].map((item) => {
      const [request, body] = [...item.querySelectorAll(":scope > code")].map((code) => code.textContent);
      const text = (where: string) => item.querySelector(where)?.textContent ?? "";
      return { what: text(".what"), request: request ?? "", body: body ?? "null", line: text(".curl code") };
    });
  });
  return items.map((item) => ({ ...item, body: JSON.parse(item.body) as unknown })).reverse();
}

/** Joins a group as a person does who pastes its name. */
async function joins(page: Page, group: string): Promise<void> {
  const lines = (await shown(page)).length;
  await page.evaluate((group) => {
    const [field, form] = ["group", "join"].map((id) => document.getElementById(id)) as
      [HTMLInputElement, HTMLFormElement];
    field.value = group;
    form.requestSubmit();
  }, group);
  await until(page, (lines) => document.querySelectorAll("#requests > li").length > Number(lines), String(lines));
}

/** Sends from the page, to what is chosen there. */
async function say(page: Page, to: string, text: string, user = ""): Promise<void> {
  const lines = (await shown(page)).length;
  await page.select("#to", to);
  await page.evaluate((user, text) => {
    const [name, field, form] = ["name", "text", "say"].map((id) => document.getElementById(id)) as
      [HTMLInputElement, HTMLInputElement, HTMLFormElement];
    name.value = user;
    field.value = text;
    form.requestSubmit();
  }, user, text);
  await until(page, (lines) => document.querySelectorAll("#requests > li").length > Number(lines), String(lines));
}

test("the page shows the request behind each thing that one does", { timeout: 120_000 }, async () => {
  const server = await Server.start("--dev");
  const browser = await open("chromium");
  const home = mkdtempSync(join(tmpdir(), "fanfare-requests-"));
  try {
    const page = await browser.newPage();
    await enter(page, server.http, "alice", "lobby");
    const other = await browser.newPage();
    await enter(other, server.http, "bob", "lobby");
    await page.bringToFront();
    await until(page, () => document.querySelector("#requests")?.textContent?.includes("count"));
    await joins(page, NAME);
    await say(page, "group lobby", TEXT);
    await say(page, "user", "psst", "alice");
    await say(page, "all", "to all");
    // At once: the list is drawn anew whenever somebody comes.
    await page.evaluate(() => document.querySelector<HTMLElement>("#list > li button")?.click());
    await until(page, () => document.querySelector("#requests .what")?.textContent?.startsWith("leave"));

    const requests = await shown(page);
    const connection = requests[0]?.request.split("/").at(-1) ?? "";
    assert.match(connection, /^[0-9A-Z]{26}$/u);
    const event = "ReceiveMessage";
    const [watched, done] = [true, false].map((isOfPresence) => {
      return requests.filter(({ request }) => request.endsWith("/presence") === isOfPresence);
    }) as [Shown[], Shown[]];
    assert.deepEqual(watched.map(({ request }) => decodeURIComponent(request)), [
      "GET /api/v1/groups/lobby/presence",
      `GET /api/v1/groups/${NAME}/presence`,
    ]);
    assert.deepEqual(done.map(({ request, body }) => [request, body]), [
      [`GET /api/v1/connections/${connection}`, null],
      ["POST /api/v1/add", { group: "lobby", connection }],
      ["GET /api/v1/groups/lobby", null],
      ["POST /api/v1/add", { group: NAME, connection }],
      ["POST /api/v1/send", { to: { groups: ["lobby"] }, event, text: TEXT }],
      ["POST /api/v1/send", { to: { users: ["alice"] }, event, text: "psst", except: [connection] }],
      ["POST /api/v1/send", { to: { all: true }, event, text: "to all" }],
      ["POST /api/v1/remove", { group: "lobby", connection }],
    ]);

    // What cannot be seen is not in a line either.
    for (const { line } of requests) assert.doesNotMatch(line, /\p{C}|['"]\p{M}/u);
    const key = server.command("apikey", "create", "--name", "page", "--allow", "*").trim();
    const { PATH } = process.env;
    const run = (line: string): unknown => {
      const options = { cwd: home, env: { PATH, FANFARE_API_KEY: key }, encoding: "utf8" } as const;
      const done = spawnSync("sh", ["-c", line], options);
      assert.equal(done.status, 0, done.stderr);
      return JSON.parse(done.stdout);
    };
    // The page itself has left the lobby by now; what is taken back below is done once more.
    for (const { line } of watched) assert.ok("next" in (run(line) as object), line);
    const answers = done.map(({ line }) => run(line)) as Record<string, unknown>[];
    const found = answers.map(({ queued, connection, connections }) => queued ?? connection ?? connections);
    assert.deepEqual(found, [connection, 1, 2, 1, 2, 0, 2, 1], JSON.stringify(answers));
    await until(page, () => document.querySelector("#log")?.textContent?.includes("the server to everyone to all"));
    await until(page, () => document.querySelector("#log")?.textContent?.includes("you were removed from lobby"));
    assert.deepEqual(readdirSync(home), []);
    assert.ok(!(await page.content()).includes("ffk_"), "a key is on the page");

    // The tab, by mouse and by keys.
    const visible = () => page.$$eval("[role=tabpanel]", (panels) => {
      return panels.filter((panel) => panel.checkVisibility()).map(({ id }) => id);
    });
    assert.deepEqual(await visible(), ["messages"]);
    await page.click("#apiTab");
    assert.deepEqual(await visible(), ["api"]);
    await page.keyboard.press("ArrowLeft");
    assert.deepEqual(await visible(), ["messages"]);
    assert.equal(await page.evaluate(() => document.activeElement?.id), "messagesTab");
    await page.click("#apiTab");
    const may = ["clipboard-read", "clipboard-sanitized-write"] as const;
    await browser.defaultBrowserContext().overridePermissions(`http://${server.http}`, [...may]);
    await page.click("#requests li:last-child button");
    await until(page, () => document.querySelector("#requests li:last-child button")?.textContent === "copied");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), requests[0]?.line);
    await page.$eval("#requests", (list) => list.parentElement?.scrollTo(0, 0));
    for (const [name, width, height] of [["wide", 1100, 760], ["phone", 390, 844]] as const) {
      await page.setViewport({ width, height });
      const over = await page.evaluate(() => {
        return document.documentElement.scrollWidth - document.documentElement.clientWidth;
      });
      assert.ok(over <= 0, `${name}: ${over} pixels too wide`);
      const screenshots = process.env["FANFARE_SCREENSHOTS"];
      if (screenshots) await page.screenshot({ path: `${screenshots}/api-${name}.png` });
    }
  } finally {
    await browser.close();
    await server.stop();
    rmSync(home, { recursive: true, force: true });
  }
});
