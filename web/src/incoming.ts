/**
 * The frames that come from the server.
 *
 * In: the receiving half of the stream. Out: one frame after the other, or how the stream ended. Invariants: each frame
 * is judged when it is asked for, so that one that is malformed spoils none before it; a `welcome` of another version
 * is judged by that alone; a stream that the server finishes in the middle of a frame breaks the protocol.
 */

import { Code } from "./codes.js";
import { decodeServer, welcomeVersion } from "./codec.js";
import { FanfareError } from "./errors.js";
import { PROTOCOL_VERSION, type ServerFrame } from "./frames.js";
import { FrameReader } from "./stream.js";

export class Incoming {
  private readonly frames = new FrameReader();

  constructor(private readonly reader: ReadableStreamDefaultReader<Uint8Array>) {}

  /** The first frame, as {@link next} gives the others. */
  async first(): Promise<ServerFrame | undefined> {
    const frame = await this.bytes();
    // Before anything behind it is judged: another version may say there what this one does not know.
    const version = frame && welcomeVersion(frame);
    if (version !== undefined && version !== PROTOCOL_VERSION) {
      throw new FanfareError("protocol", `the server speaks version ${version}`, Code.UnsupportedProtocol);
    }
    return frame && decodeServer(frame);
  }

  /**
   * The next frame; none when the server has finished the stream. Rejects with a {@link FanfareError} where what came
   * is not the protocol, and with the browser's error where the stream was broken off or its session has ended: a
   * stream that is `done` was finished by the server, in Chromium and in Firefox.
   */
  async next(): Promise<ServerFrame | undefined> {
    const frame = await this.bytes();
    return frame && decodeServer(frame);
  }

  /** The next whole frame, not yet read. */
  private async bytes(): Promise<Uint8Array | undefined> {
    for (;;) {
      const frame = this.frames.next();
      if (frame) return frame;
      const { value, done } = await this.reader.read();
      if (!done) {
        this.frames.push(value);
        continue;
      }
      if (this.frames.isBetweenFrames()) return undefined;
      throw new FanfareError("protocol", "the server ended the stream in the middle of a frame", Code.TruncatedFrame);
    }
  }
}
