/**
 * The numbered codes of PROTOCOL.md, section 14: why a request was refused, a member removed or a connection closed. A
 * test compares them with that page.
 */

/** Every code by its name. A server of a later version may use others. */
export const Code = {
  Normal: 0,
  ShuttingDown: 1001,
  MalformedFrame: 2001,
  FrameTooLarge: 2002,
  TruncatedFrame: 2003,
  HelloExpected: 2004,
  HelloRepeated: 2005,
  UnsupportedProtocol: 2006,
  HandshakeTimeout: 2007,
  StreamReset: 2008,
  PathUnknown: 2009,
  InvalidName: 2101,
  NoTarget: 2102,
  InvalidRequest: 2103,
  NothingThere: 2104,
  NotKnownHere: 2105,
  ExtensionNotKnown: 2106,
  IdempotencyMismatch: 2107,
  IdempotencyInProgress: 2108,
  MethodUnknown: 2201,
  ArgumentsInvalid: 2202,
  CallFailed: 2203,
  CallCancelled: 2204,
  NotAStream: 2205,
  TokensNotConfigured: 3001,
  DevUserRefused: 3002,
  TokenInvalid: 3003,
  TokenExpired: 3004,
  TokenNotYetValid: 3005,
  TokenNotForHere: 3006,
  TokenRevoked: 3007,
  OtherUser: 3008,
  UserBanned: 3009,
  ClosedByOperator: 3010,
  OperatorRefused: 3011,
  ViewerMayNotAct: 3012,
  CertificateRefused: 3013,
  OriginRefused: 3014,
  SignedOut: 3015,
  ClosedForNow: 3016,
  ConnectRefused: 3017,
  ConnectRefusedForNow: 3018,
  ApiKeyRefused: 3019,
  ApiKeyTooNarrow: 3020,
  MintingNotConfigured: 3021,
  RemovedFromGroup: 3101,
  NotGranted: 3102,
  BannedFromGroup: 3103,
  GrantEnded: 3104,
  Muted: 3105,
  ServerFull: 4001,
  AddressFull: 4002,
  UserFull: 4003,
  TooManyGroups: 4004,
  TooManyTargets: 4005,
  PayloadTooLarge: 4006,
  SlowConsumer: 4007,
  TooManyCalls: 4008,
  StreamOverrun: 4009,
  TooManyRequests: 4010,
  Internal: 5001,
  MethodPanicked: 5002,
  CallTimeout: 5003,
  BackEndUnavailable: 5004,
  CutOff: 5005,
} as const;

/** After these a client does well to connect again by itself, after a pause. */
const RETRY: ReadonlySet<number> = new Set([
  Code.ShuttingDown,
  Code.HandshakeTimeout,
  Code.StreamReset,
  Code.ClosedForNow,
  Code.ConnectRefusedForNow,
  Code.IdempotencyInProgress,
  Code.TooManyRequests,
  Code.ServerFull,
  Code.AddressFull,
  Code.UserFull,
  Code.SlowConsumer,
  Code.Internal,
  Code.CutOff,
]);

/** Whether a client that was closed with this code does well to connect again. An unknown code was meant: no. */
export function mayReconnect(code: number): boolean {
  return RETRY.has(code);
}

/** The name of a code, or its number where this version does not know it. */
export function codeName(code: number): string {
  return Object.entries(Code).find(([, known]) => known === code)?.[0] ?? String(code);
}
