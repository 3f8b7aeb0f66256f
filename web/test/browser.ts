/**
 * Debian's browsers, driven from here.
 *
 * In: which browser. Out: pages in which the client runs as an application would run it. Invariant: a browser that is
 * not installed fails the run, with a message that says what to do.
 */

import { existsSync } from "node:fs";
import { launch, type Browser, type Page } from "puppeteer-core";
import { DEADLINE } from "./server.js";

export type Kind = "chromium" | "firefox";

const PLACES: Record<Kind, string[]> = {
  chromium: ["/usr/bin/chromium"],
  firefox: ["/usr/bin/firefox-esr", "/usr/bin/firefox"],
};

export async function open(kind: Kind): Promise<Browser> {
  const variable = `FANFARE_${kind.toUpperCase()}`;
  const named = process.env[variable];
  const executablePath = (named === undefined ? PLACES[kind] : [named]).find((path) => existsSync(path));
  if (executablePath === undefined) {
    const packages = kind === "firefox" ? "firefox-esr" : kind;
    throw new Error(`this test needs ${kind}: apt-get install ${packages}, or say in ${variable} where it is`);
  }
  const chromium = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
  return launch({
    browser: kind === "firefox" ? "firefox" : "chrome",
    executablePath,
    headless: true,
    args: kind === "chromium" ? chromium : [],
  });
}

/** A page of this address with the client in it, as `fanfare`, and the server's certificate to pin, as `hash`. */
export async function pageAt(browser: Browser, http: string, hashFrom: string = http): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(`http://${http}/`);
  const hash = (await (await fetch(`http://${hashFrom}/fanfare/certificate-hash`)).json()) as { value: string };
  await page.evaluate(async (value) => {
    Object.assign(globalThis, { fanfare: await import("/fanfare-client.js" as string), hash: value });
  }, hash.value);
  return page;
}

/** Waits until `wanted` holds in the page. Asked from here: the page's policy lets nobody evaluate texts. */
export async function until(page: Page, wanted: (argument: string) => unknown, argument = ""): Promise<void> {
  const deadline = Date.now() + DEADLINE;
  while (!(await page.evaluate(wanted, argument))) {
    if (Date.now() > deadline) {
      const text = await page.evaluate(() => document.body.innerText);
      throw new Error(`never so: ${wanted}; the page says ${text}`);
    }
    await new Promise((settle) => setTimeout(settle, 20));
  }
}

/** Opens the development server's page as a person does, and joins a group. */
export async function enter(page: Page, http: string, user: string, group: string): Promise<void> {
  await page.goto(`http://${http}/`);
  await page.bringToFront();
  await until(page, () => typeof document.querySelector<HTMLFormElement>("#who")?.onsubmit === "function");
  await page.type("#user", user);
  await page.keyboard.press("Enter");
  await until(page, () => document.querySelector("#room:not([hidden])") !== null);
  await page.type("#group", group);
  await page.keyboard.press("Enter");
  await until(page, (group) => document.querySelector("#list")?.textContent?.includes(group), group);
}
