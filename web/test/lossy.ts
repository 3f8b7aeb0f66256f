/**
 * A way to a server that loses packets, as tests/src/lossy.rs is one.
 *
 * In: a browser's packets. Out: most of them, and most of what the server answers; which are lost is decided by a seed.
 */

import { createSocket, type Socket } from "node:dgram";
import type { AddressInfo } from "node:net";

/** Numbers that look like chance and are the same each time (mulberry32). */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Lossy {
  private constructor(private readonly near: Socket, private readonly far: Socket) {}

  /** Loses this part of the packets, each way. */
  static async to(server: string, part: number, seed: number): Promise<Lossy> {
    const [near, far] = [createSocket("udp4"), createSocket("udp4")];
    const [host, port] = server.split(":") as [string, string];
    const lost = chance(seed);
    let browser: { address: string; port: number } | undefined;
    near.on("message", (packet, from) => {
      browser = from;
      if (lost() >= part) far.send(packet, Number(port), host);
    });
    far.on("message", (packet) => {
      if (browser && lost() >= part) near.send(packet, browser.port, browser.address);
    });
    for (const socket of [near, far]) await new Promise<void>((settle) => socket.bind(0, "127.0.0.1", settle));
    return new Lossy(near, far);
  }

  /** Where the browser sends to. */
  get address(): string {
    return `127.0.0.1:${(this.near.address() as AddressInfo).port}`;
  }

  close(): void {
    this.near.close();
    this.far.close();
  }
}
