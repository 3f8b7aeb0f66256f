/** Every case with SignalR's own client, and how one is run: under Node, and in pages, for which this is bundled. */

import { CALLS } from "./signalr-calls.js";
import { GROUPS } from "./signalr-groups.js";
import { LIVES } from "./signalr-lives.js";
import { Scene, type World } from "./signalr-scene.js";

// For pages in which both clients are.
export * as fanfare from "../src/index.js";
export { Scene, until } from "./signalr-scene.js";

export const CASES = [...GROUPS, ...CALLS, ...LIVES];

export async function run(name: string, world: World): Promise<void> {
  const found = CASES.find((one) => one.name === name);
  if (!found) throw new Error(`there is no case ${JSON.stringify(name)}`);
  const scene = new Scene(world);
  try {
    await found.run(scene);
  } finally {
    await scene.end();
  }
}
