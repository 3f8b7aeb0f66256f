// The page of a development server: pick a name, join groups, talk, see who comes and goes, move a shared cursor. Names
// and texts of others are only ever put into text nodes, and each into an element with a direction of its own: what one
// is written in must not move what stands beside it. Payloads are shown as they were received.

import { connect, json, visible } from "./fanfare-client.js";
import { requested, segment } from "./requests.js";

const by = (id) => document.getElementById(id);
const groups = new Map();
/** Who is in which group, for those that may be watched. */
const watches = new Map();
const cursors = new Map();
/** How many lines are kept, and after how long a cursor that does not move is gone. */
const LINES = 500;
const STILL_MS = 10_000;
/** So many bytes are shown of what is no text. */
const BYTES = 32;
/** So many names are shown of those who are in a group. */
const NAMES = 30;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
let client;

function line(className, ...parts) {
  const item = document.createElement("li");
  item.className = className;
  item.append(...parts);
  const log = by("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(item);
  while (log.children.length > LINES) log.firstChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function strong(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

/** A name of somebody's, of which no two look the same. */
function named(name) {
  return strong("bdi", visible(name));
}

/** What somebody wrote. */
function said(text) {
  return strong("bdi", text);
}

/** A payload, by the format that its sender says. JSON is not read: that would change long numbers and double keys. */
function payloadOf({ format, payload }) {
  if (format === "text" || format === "json") {
    try {
      return UTF8.decode(payload);
    } catch {
      // It says so, and is none.
    }
  }
  const kinds = { binary: "", msgpack: " of MessagePack", text: " of text, not UTF-8", json: " of JSON, not UTF-8" };
  const kind = kinds[format] ?? ` in format ${format}`;
  const shown = [...payload.subarray(0, BYTES)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const count = payload.length === 1 ? "1 byte" : `${payload.length} bytes`;
  return `(${count}${kind}: ${shown}${payload.length > BYTES ? " ..." : ""})`;
}

function state(kind, ...parts) {
  by("state").className = kind;
  by("state").replaceChildren(...parts);
}

function show() {
  const list = by("list");
  list.replaceChildren();
  for (const [group, members] of groups) {
    const item = document.createElement("li");
    const leave = strong("button", "leave");
    leave.className = "quiet";
    leave.type = "button";
    leave.setAttribute("aria-label", `leave ${visible(group)}`);
    leave.onclick = () => attempt(async () => {
      await client.leave(group);
      requested(["leave ", named(group)], "remove", { group, connection: client.connectionId });
      groups.delete(group);
      watches.get(group)?.close();
      line("note", "you left ", named(group));
      show();
    });
    const count = strong("small", `${members} here`);
    item.append(named(group), count, leave, ...here(group));
    list.append(item);
  }
  if (groups.size === 0) list.append(strong("li", "none yet"));
  const chosen = by("to").value;
  by("to").replaceChildren();
  for (const group of groups.keys()) by("to").append(new Option(`to ${visible(group)}`, `group ${group}`));
  by("to").append(new Option("to a user", "user"), new Option("to everyone", "all"));
  if ([...by("to").options].some((option) => option.value === chosen)) by("to").value = chosen;
  by("to").onchange();
}

/** Who is in a group, by their names, where that is known. */
function here(group) {
  const present = watches.get(group)?.present ?? [];
  if (present.length === 0) return [];
  const list = document.createElement("ul");
  list.className = "here";
  list.setAttribute("aria-label", `who is in ${visible(group)}`);
  for (const { user, connections } of present.slice(0, NAMES)) {
    const item = document.createElement("li");
    item.append(named(user), connections > 1 ? ` (${connections})` : "");
    list.append(item);
  }
  if (present.length > NAMES) list.append(strong("li", `and ${present.length - NAMES} more`));
  return [list];
}

/** Shows who is in a group, from now until this page is not. */
async function watch(group) {
  if (watches.has(group)) return;
  // Taken at once, so that two who ask do not make two of it.
  watches.set(group, undefined);
  let own;
  try {
    own = await client.watch(group);
    requested(["see who is in ", named(group)], `groups/${segment(group)}/presence`);
    watches.set(group, own);
    if (!groups.has(group)) own.close();
    let known;
    for await (const { present, left } of own) {
      if (known) {
        for (const { user } of present) if (!known.has(user)) line("note", named(user), " came to ", named(group));
        for (const user of left) line("note", named(user), " left ", named(group));
      }
      known = new Set(own.present.map(({ user }) => user));
      show();
    }
  } catch {
    // A token may let its user in, and not let it know who else is there.
  }
  if (watches.get(group) === own) watches.delete(group);
  show();
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    line("bad", said(error.message));
  }
}

async function joined(group) {
  const members = await client.join(group);
  requested(["join ", named(group)], "add", { group, connection: client.connectionId });
  groups.set(group, members);
  void watch(group);
  // Others in it may show one more.
  await client.sendToGroup(group, "Here", "", { others: true });
  show();
}

by("who").onsubmit = (event) => {
  event.preventDefault();
  void enter();
};

// What has ended does not come back by itself: whoever was sent away may want to come again all the same.
by("again").onclick = () => void enter();

/** Connects, also once more, and joins the groups that one was in. */
async function enter() {
  const before = [...groups.keys()];
  const isFirst = client === undefined;
  by("again").hidden = true;
  state("", "connecting ...");
  try {
    const { url, value } = await (await fetch("fanfare/certificate-hash")).json();
    // Where WebTransport does not get through, the client takes the WebSocket that is beside the page.
    const websocketUrl = new URL("fanfare", location.href.replace(/^http/u, "ws")).href;
    const asked = new URLSearchParams(location.search).getAll("transport");
    const transports = asked.length > 0 ? { transports: asked } : {};
    client = await connect({
      url, websocketUrl, devUser: by("user").value, serverCertificateHashes: [value], ...transports,
    });
  } catch (error) {
    state("lost", said(error.message));
    by("again").hidden = isFirst;
    return;
  }
  state("live", named(client.user), `, connection ${client.connectionId} over ${client.transport}`);
  by("who").hidden = true;
  by("room").hidden = false;
  by("calls").hidden = !client.callable;
  requested(["see this connection"], `connections/${client.connectionId}`);
  groups.clear();
  watches.clear();
  client.on("ReceiveMessage", (_, message) => {
    const to = strong("small", "to ");
    to.append(message.to === "all" ? "everyone" : message.to.group === undefined ? "you" : named(message.to.group));
    const from = document.createElement("b");
    from.append(message.from === "server" ? "the server" : named(message.from.user));
    line("", from, " ", to, " ", said(payloadOf(message)));
  });
  client.on("Cursor", (_, message) => cursor(message));
  // Who comes and goes is asked for when somebody says so, and now and then.
  client.on("Here", () => count());
  client.when("joined", ({ group, members }) => {
    groups.set(group, members);
    line("note", "you are in ", named(group));
    void watch(group);
    show();
    // Who joins a group wants to talk there.
    by("to").value = `group ${group}`;
    by("to").onchange();
  });
  client.onRemoved(({ group, code, reason }) => {
    groups.delete(group);
    watches.get(group)?.close();
    const why = said(reason || "no reason was given");
    line("bad", "you were removed from ", named(group), ": ", why, ` (code ${code})`);
    show();
  });
  client.when("refused", ({ detail }) => line("bad", said(detail)));
  client.when("lagged", ({ dropped }) => line("bad", `${dropped} messages were dropped: this page was too slow`));
  client.when("disconnected", ({ reason, retryIn }) => {
    state("lost", said(reason || "connection lost"), `; again in ${(retryIn / 1000).toFixed(1)} s`);
  });
  client.when("reconnected", ({ connection, transport, refused, lost }) => {
    state("live", named(client.user), `, connection ${connection} over ${transport}`);
    line("note", "connected again");
    for (const { group, code, reason } of refused) {
      groups.delete(group);
      watches.get(group)?.close();
      const why = said(reason || "no reason was given");
      line("bad", named(group), " did not let you in again: ", why, ` (code ${code})`);
    }
    for (const group of lost) {
      groups.delete(group);
      watches.get(group)?.close();
      line("bad", "you are no longer in ", named(group), ", which an operator had added you to");
    }
    show();
  });
  client.when("closed", ({ code, reason }) => {
    state("lost", "closed: ", said(reason), code === undefined ? "" : ` (code ${code})`);
    by("again").hidden = false;
  });
  if (isFirst) setInterval(count, 3_000);
  show();
  by("group").focus();
  for (const group of before) await attempt(() => joined(group));
}

async function count() {
  if (!client.connected) return;
  for (const [group, before] of groups) {
    const members = await client.count({ group }).catch(() => before);
    if (members === before || !groups.has(group)) continue;
    // Who it was is told where that may be known.
    if (!watches.get(group)) line("note", members > before ? "somebody came to " : "somebody left ", named(group));
    requested(["count ", named(group)], `groups/${segment(group)}`);
    groups.set(group, members);
    show();
  }
}

by("join").onsubmit = (event) => {
  event.preventDefault();
  const group = by("group").value;
  by("group").value = "";
  void attempt(() => joined(group));
};

by("to").onchange = () => {
  by("name").hidden = by("to").value !== "user";
  by("name").required = !by("name").hidden;
};

by("say").onsubmit = (event) => {
  event.preventDefault();
  const text = by("text").value;
  const [kind, ...rest] = by("to").value.split(" ");
  const to = kind === "all" ? "all" : kind === "user" ? { user: by("name").value } : { group: rest.join(" ") };
  void attempt(async () => {
    const { count, silent } = await client.sendCounted([to], "ReceiveMessage", text, { others: kind === "user" });
    sent(to, text);
    const nodes = silent.map((node) => visible(node)).join(", ");
    if (kind === "user" && count) line("", "to ", named(to.user), ": ", said(text));
    else if (kind === "user" && !silent.length) line("bad", named(to.user), " is not connected");
    else if (kind === "user") {
      line("bad", "whether ", named(to.user), ` is connected is not known: no answer from ${nodes}`);
    }
    by("text").value = "";
  });
};

/** Shows how a back end sends the same; what one sends to oneself here does not come to this connection. */
function sent(to, text) {
  const message = { event: "ReceiveMessage", text };
  if (to === "all") requested(["send to everyone"], "send", { to: { all: true }, ...message });
  else if (to.group === undefined) {
    const except = [client.connectionId];
    requested(["send to the user ", named(to.user)], "send", { to: { users: [to.user] }, ...message, except });
  } else requested(["send to the group ", named(to.group)], "send", { to: { groups: [to.group] }, ...message });
}

/** Calls a method, and shows what it gave, or why it did not. */
by("call").onsubmit = (event) => {
  event.preventDefault();
  const [method, given] = [by("method").value, by("arguments").value.trim()];
  const called = [named(method), "(", said(given), ")"];
  void (async () => {
    try {
      // As they were written, digit for digit.
      JSON.parse(`[${given}]`);
      const args = { format: "json", bytes: new TextEncoder().encode(`[${given}]`) };
      const value = await client.call({ method, args });
      line("", strong("b", "called "), ...called, value === undefined ? "" : ": ", said(JSON.stringify(value) ?? ""));
    } catch (error) {
      line("bad", ...called, ": ", said(error.message));
    }
  })();
};

const board = by("board");
const own = { x: 0.5, y: 0.5 };

function move(x, y) {
  own.x = Math.min(Math.max(x, 0), 1);
  own.y = Math.min(Math.max(y, 0), 1);
  place("own", client.user, own.x, own.y, true);
  const [kind, ...rest] = by("to").value.split(" ");
  if (kind !== "group" || !client.connected) return;
  // Nobody sees more than a thousandth of the board.
  const [atX, atY] = [own.x, own.y].map((part) => Math.round(part * 1000) / 1000);
  try {
    client.unreliable({ group: rest.join(" ") }, "Cursor", json({ x: atX, y: atY }), { others: true });
  } catch (error) {
    line("bad", said(error.message));
  }
}

function cursor(message) {
  if (message.from === "server") return;
  try {
    const { x, y } = JSON.parse(message.text());
    if (x >= 0 && x <= 1 && y >= 0 && y <= 1) place(message.from.connection, message.from.user, x, y, false);
  } catch {
    // Somebody's "Cursor" that has no place in it.
  }
}

function place(key, name, x, y, isOwn) {
  let known = cursors.get(key);
  if (!known) {
    known = { element: document.createElement("span"), timer: 0 };
    known.element.append(named(name));
    known.element.className = isOwn ? "own" : "";
    cursors.set(key, known);
    board.append(known.element);
  }
  known.element.style.left = `${x * 100}%`;
  known.element.style.top = `${y * 100}%`;
  clearTimeout(known.timer);
  if (isOwn) return;
  known.timer = setTimeout(() => {
    known.element.remove();
    cursors.delete(key);
  }, STILL_MS);
}

let due = false;
board.onpointermove = (event) => {
  // One a frame is as much as anybody sees.
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    const box = board.getBoundingClientRect();
    move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  });
};
board.onkeydown = (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  move(own.x + step[0] * 0.02, own.y + step[1] * 0.02);
};
