/**
 * Connections' ids as people see them.
 *
 * In: 16 bytes, or 26 characters. Out: the other of the two. Invariant: an id has one spelling, but for the case of its
 * letters (docs/protocol/ids.md).
 */

import { FanfareError } from "./errors.js";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** The 26 characters of a connection's id. */
export function idToText(bytes: Uint8Array): string {
  let number = 0n;
  for (const byte of bytes) number = (number << 8n) | BigInt(byte);
  let text = "";
  for (let digit = 25n; digit >= 0n; digit--) text += ALPHABET[Number((number >> (digit * 5n)) & 31n)];
  return text;
}

/** The 16 bytes of a connection's id. */
export function idFromText(text: string): Uint8Array {
  // Only ASCII has the case that counts here: upper case makes other characters into ours, or into two of ours.
  const digits = [...text].map((character) => (character < "\u{80}" ? ALPHABET.indexOf(character.toUpperCase()) : -1));
  if (digits.length !== 26 || digits.includes(-1) || (digits[0] ?? 8) > 7) {
    const why = `${JSON.stringify(text)} is not a connection's id, which has 26 letters and digits, from 0 to 7 first`;
    throw new FanfareError("argument", why);
  }
  let number = digits.reduce((number, digit) => (number << 5n) | BigInt(digit), 0n);
  const bytes = new Uint8Array(16);
  for (let at = 15; at >= 0; at--, number >>= 8n) bytes[at] = Number(number & 255n);
  return bytes;
}
