// What both hubs need: a server for HTTP or HTTPS on loopback, and a line that says that it is ready.

import { readFileSync } from "node:fs";
import { createServer as plain } from "node:http";
import { createServer as secure } from "node:https";

/** Prints the package's version and ends, where that was asked for. */
export function version(name) {
  if (process.argv[2] !== "--version") return;
  const text = readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), "utf8");
  console.log(`${name} ${JSON.parse(text).version} on node ${process.version}`);
  process.exit(0);
}

export function server() {
  if (process.argv[3] !== "tls") return plain();
  return secure({ cert: readFileSync("server.pem"), key: readFileSync("server.key"), minVersion: "TLSv1.3" });
}

export function listen(server) {
  server.listen(Number(process.argv[2]), "127.0.0.1", 4096, () => console.log("ready"));
}
