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

/** How long connecting may take, in milliseconds, where the application does not say. */
export const CONNECT_TIMEOUT = 10_000;

/** The most addresses. A hub has at most 65 nodes, and each may have several. */
const MOST_ADDRESSES = 256;

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

function listed(urls: string | readonly string[]): readonly string[] {
  return typeof urls === "string" ? [urls] : urls;
}

/** Where the options say that the servers are, each once. Throws where they do not say who connects. */
export function addressesOf(options: ConnectOptions): Address[] {
  const credentials = [options.token, options.tokenProvider, options.devUser];
  if (credentials.filter((one) => one !== undefined).length !== 1) {
    throw new FanfareError("argument", "give one of token, tokenProvider and devUser");
  }
  const urls = listed(options.url);
  if (urls.length < 1 || urls.length > MOST_ADDRESSES) {
    throw new FanfareError("argument", `give 1 to ${MOST_ADDRESSES} addresses as url, not ${urls.length}`);
  }
  const { websocketUrl } = options;
  if (typeof websocketUrl === "object" && websocketUrl.length !== urls.length) {
    throw new FanfareError("argument", `give one websocketUrl for all, or one for each of ${urls.length} addresses`);
  }
  const addresses = urls.map((url, at): Address => ({
    url,
    hashes: (options.serverCertificateHashes ?? []).map(hash),
    // The same place, over TCP.
    socketUrl: (typeof websocketUrl === "object" ? websocketUrl[at] : websocketUrl) ?? url.replace(/^http/u, "ws"),
    transports: options.transports ?? ["webtransport", "websocket"],
    socketAfter: options.websocketAfter ?? 1_000,
  }));
  return addresses.filter(({ url }, at) => urls.indexOf(url) === at);
}

/**
 * Connects, with the newest token where there is no provider. Once there is a credential that may take `most`
 * milliseconds.
 */
export async function dial(
  options: ConnectOptions, race: Race, newest: string | undefined, signal: AbortSignal | undefined, most: number,
): Promise<Link> {
  const whole = options.connectTimeout ?? CONNECT_TIMEOUT;
  const deadline = AbortSignal.timeout(whole);
  let part: AbortSignal | undefined;
  const either = signal ? AbortSignal.any([signal, deadline]) : deadline;
  try {
    const token = options.tokenProvider ? await unlessAborted(asked(options.tokenProvider), either) : newest;
    const credential: Credential = token === undefined ? { devUser: options.devUser ?? "" } : { token };
    part = most < whole ? AbortSignal.timeout(most) : undefined;
    return await Link.open(race, credential, part ? AbortSignal.any([either, part]) : either);
  } catch (error) {
    if (signal?.aborted) throw new FanfareError("aborted", "connecting was aborted", undefined, signal.reason);
    // What the server said is more than that it was late.
    if (error instanceof FanfareError) throw error;
    if (deadline.aborted || part?.aborted) {
      throw new FanfareError("timeout", `no connection to ${race.url} in time`);
    }
    throw error;
  }
}

/** Asks a provider for a token. That it fails later than somebody waits for it is no error that nobody handles. */
function asked(provider: () => string | Promise<string>): Promise<string> {
  const token = Promise.resolve().then(provider);
  token.catch(() => {});
  return token;
}
