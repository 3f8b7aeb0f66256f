/**
 * One attempt to connect.
 *
 * In: what the application configured, and the newest token. Out: a link, or an error that says why there is none.
 * Invariant: the token provider, the session and `welcome` share one deadline, and nothing of an attempt outlives it.
 */

import { FanfareError } from "./errors.js";
import type { Credential } from "./frames.js";
import { Link } from "./link.js";
import { unlessAborted } from "./pause.js";
import type { Address, Race } from "./race.js";
import type { ConnectOptions } from "./types.js";

function hash(value: Uint8Array | ArrayBuffer | string): WebTransportHash {
  return { algorithm: "sha-256", value: (typeof value === "string" ? octets(value) : value) as BufferSource };
}

function octets(base64: string): Uint8Array {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch (cause) {
    throw new FanfareError("argument", `the certificate hash ${base64} is not base64`, undefined, cause);
  }
}

/** Where the options say that the server is. Throws where they do not say who connects. */
export function addressOf(options: ConnectOptions): Address {
  const credentials = [options.token, options.tokenProvider, options.devUser];
  if (credentials.filter((one) => one !== undefined).length !== 1) {
    throw new FanfareError("argument", "give one of token, tokenProvider and devUser");
  }
  return {
    url: options.url,
    hashes: (options.serverCertificateHashes ?? []).map(hash),
    // The same place, over TCP.
    socketUrl: options.websocketUrl ?? options.url.replace(/^http/u, "ws"),
    transports: options.transports ?? ["webtransport", "websocket"],
    socketAfter: options.websocketAfter ?? 1_000,
  };
}

/** Connects, with the newest token where there is no provider. */
export async function dial(
  options: ConnectOptions, race: Race, newest: string | undefined, signal: AbortSignal | undefined,
): Promise<Link> {
  const deadline = AbortSignal.timeout(options.connectTimeout ?? 10_000);
  const either = signal ? AbortSignal.any([signal, deadline]) : deadline;
  try {
    const token = options.tokenProvider ? await unlessAborted(asked(options.tokenProvider), either) : newest;
    const credential: Credential = token === undefined ? { devUser: options.devUser ?? "" } : { token };
    return await Link.open(race, options.url, credential, either);
  } catch (error) {
    if (signal?.aborted) throw new FanfareError("aborted", "connecting was aborted", undefined, signal.reason);
    // What the server said is more than that it was late.
    if (error instanceof FanfareError) throw error;
    if (deadline.aborted) throw new FanfareError("timeout", `no connection to ${options.url} in time`);
    throw error;
  }
}

/** Asks a provider for a token. That it fails later than somebody waits for it is no error that nobody handles. */
function asked(provider: () => string | Promise<string>): Promise<string> {
  const token = Promise.resolve().then(provider);
  token.catch(() => {});
  return token;
}
