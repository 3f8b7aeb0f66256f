/**
 * Draws the README's picture of the page: two people in a group, and one of them removed by an operator. `make picture`
 * runs it.
 */

import { open, until } from "./browser.js";
import { Server } from "./server.js";
import type { Page } from "puppeteer-core";

const path = process.argv[2];
if (path === undefined) throw new Error("say where the picture goes");

const server = await Server.start("--dev");
const browser = await open("chromium");
try {
  const [one, two] = [await browser.newPage(), await browser.newPage()];
  for (const [page, user] of [[one, "alice"], [two, "bob"]] as const) {
    await page.setViewport({ width: 900, height: 760, deviceScaleFactor: 2 });
    await page.goto(`http://${server.http}/`);
    await page.bringToFront();
    await page.type("#user", user);
    await page.keyboard.press("Enter");
    await until(page, () => document.querySelector("#room:not([hidden])") !== null);
    for (const group of ["lobby", "team"]) {
      await page.type("#group", group);
      await page.keyboard.press("Enter");
      await until(page, (group) => document.querySelector("#list")?.textContent?.includes(group), group);
    }
  }
  const say = async (page: Page, to: string, text: string) => {
    await page.bringToFront();
    await page.select("#to", to);
    await page.type("#text", text);
    await page.keyboard.press("Enter");
    for (const reader of [one, two]) {
      await reader.bringToFront();
      await until(reader, (text) => document.querySelector("#log")?.textContent?.includes(text), text);
    }
  };
  await say(one, "group lobby", "Good morning. The release is out.");
  await say(two, "group lobby", "Already on it, 14 ms from here.");
  await say(two, "group team", "Can somebody look at the dashboard?");
  server.command("send", "--user", "back-end", "--to-user", "alice", "Deploy 1841 is green");
  server.command("admin", "revoke", "alice", "team", "--reason", "moved to another project");
  await until(one, () => document.querySelector("#log")?.textContent?.includes("removed from team"));
  await two.bringToFront();
  await two.select("#to", "group lobby");
  const board = await (await two.$("#board"))?.boundingBox();
  for (let step = 0; board && step < 20; step++) {
    await two.mouse.move(board.x + 300 + step * 12, board.y + 40 + step * 2);
  }
  await one.bringToFront();
  await one.select("#to", "group lobby");
  const own = await (await one.$("#board"))?.boundingBox();
  if (own) await one.mouse.move(own.x + 180, own.y + 90);
  await until(one, () => document.querySelectorAll("#board span").length === 2);
  await one.screenshot({ path: path as `${string}.png` });
} finally {
  await browser.close();
  await server.stop();
}
