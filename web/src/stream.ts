/**
 * A stream of bytes, cut into frames: PROTOCOL.md, section 2.
 *
 * In: chunks, in whatever pieces they arrive. Out: whole frames without their length prefix, one after the other.
 * Invariant: a length is checked before a byte of its frame is kept, and of a frame that is not complete never more is
 * kept than has come.
 */

import { Code } from "./codes.js";
import { FanfareError } from "./errors.js";
import { FRAME_CEILING } from "./frames.js";

/** How many bytes the length prefix has. */
export const PREFIX_BYTES = 4;

const EMPTY = new Uint8Array(0);

function lengthAtStartOf(bytes: Uint8Array): number | undefined {
  if (bytes.length < PREFIX_BYTES) return undefined;
  const length = new DataView(bytes.buffer, bytes.byteOffset, PREFIX_BYTES).getUint32(0, true);
  if (length <= FRAME_CEILING) return length;
  throw new FanfareError("protocol", `the server sent a frame of ${length} bytes`, Code.FrameTooLarge);
}

/** Cuts a stream into frames. One that lies within one chunk is a view of that chunk. */
export class FrameReader {
  private chunk: Uint8Array = EMPTY;
  /** A frame that is spread over several chunks, with its prefix, as far as it has come; there may be room behind. */
  private partial: Uint8Array = EMPTY;
  private filled = 0;

  /** Takes a chunk. The one before must be used up: {@link next} gave nothing. */
  push(chunk: Uint8Array): void {
    this.chunk = chunk;
  }

  /** The next whole frame; none when the chunk is used up. */
  next(): Uint8Array | undefined {
    if (this.filled === 0) {
      const length = lengthAtStartOf(this.chunk);
      if (length !== undefined && this.chunk.length - PREFIX_BYTES >= length) {
        return this.take(PREFIX_BYTES + length).subarray(PREFIX_BYTES);
      }
    }
    for (;;) {
      const length = lengthAtStartOf(this.partial.subarray(0, this.filled));
      const wanted = PREFIX_BYTES + (length ?? 0);
      if (length !== undefined && this.filled === wanted) {
        const frame = this.partial.subarray(PREFIX_BYTES, wanted);
        [this.partial, this.filled] = [EMPTY, 0];
        return frame;
      }
      if (this.chunk.length === 0) return undefined;
      this.keep(this.take(Math.min(wanted - this.filled, this.chunk.length)), wanted);
    }
  }

  /** Whether the stream stands between two frames, so that it may end here. */
  isBetweenFrames(): boolean {
    return this.filled === 0 && this.chunk.length === 0;
  }

  private take(count: number): Uint8Array {
    const taken = this.chunk.subarray(0, count);
    this.chunk = this.chunk.subarray(count);
    return taken;
  }

  private keep(taken: Uint8Array, wanted: number): void {
    const filled = this.filled + taken.length;
    if (filled > this.partial.length) {
      // Twice as much as there is, so that a long frame is not copied anew with each chunk.
      const grown = new Uint8Array(Math.max(filled, Math.min(2 * this.partial.length, wanted)));
      grown.set(this.partial.subarray(0, this.filled));
      this.partial = grown;
    }
    this.partial.set(taken, this.filled);
    this.filled = filled;
  }
}
