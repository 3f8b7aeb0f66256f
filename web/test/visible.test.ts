/** Names look the same here and in the terminal: protocol/visible.json. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";

import { visible } from "../src/visible.js";

const FILE = resolve(import.meta.dirname, "../../../protocol/visible.json");
const TABLE = JSON.parse(readFileSync(FILE, "utf8")) as [string, string][];

test("names are shown as the table says", () => {
  assert.ok(TABLE.length > 40);
  for (const [name, shown] of TABLE) assert.equal(visible(name), shown);
});
