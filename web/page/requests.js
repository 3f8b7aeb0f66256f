// The tab "HTTP API": for each thing that one does on the page, the request by which a back end does the same, and a
// line for a terminal. A key is nowhere in it: the line has a variable in its place. Names and texts are shown in the
// order of their characters, and what cannot be seen is escaped as JSON has it, so that a line does what it shows.

const by = (id) => document.getElementById(id);
/** How many requests are kept. */
const MOST = 50;
const TABS = [by("messagesTab"), by("apiTab")];

/** Shows what a back end asks for: an operation with its body, or, without one, a question. */
export function requested(what, path, body) {
  const [method, json] = body === undefined ? ["GET"] : ["POST", plain(JSON.stringify(body))];
  const item = document.createElement("li");
  const heading = element("p", "what", ...what);
  const line = element("code", "", `${method} /api/v1/${path}`);
  const command = element("code", "", curl(path, json));
  const copy = element("button", "quiet", "copy");
  copy.type = "button";
  copy.onclick = async () => {
    const done = await navigator.clipboard.writeText(command.textContent).then(() => true, () => false);
    copy.textContent = done ? "copied" : "select it, please";
    if (!done) getSelection().selectAllChildren(command);
  };
  item.append(heading, line);
  if (json !== undefined) item.append(element("code", "", json));
  item.append(element("div", "curl", command, copy));
  const list = by("requests");
  by("noRequests").hidden = true;
  list.prepend(item);
  while (list.children.length > MOST) list.lastChild.remove();
}

/** A name as a part of a path. */
export function segment(name) {
  return encodeURIComponent(name);
}

function element(tag, className, ...parts) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...parts);
  return made;
}

/** JSON that says the same in characters that can be seen, and of which none is drawn over another's quote. */
function plain(json) {
  const escaped = (character) => {
    const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  };
  return json.replace(/(?! )[\p{C}\p{Z}]|(?<![\p{L}\p{M}])\p{M}/gu, escaped);
}

/** The request as a line for a POSIX shell, which takes nothing in it for anything but text. */
function curl(path, json) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const sent = json === undefined ? "" : ` --json ${quoted(json)}`;
  // A development server has the API beside its page.
  return `curl -s --oauth2-bearer "$FANFARE_API_KEY" ${quoted(`${location.origin}/api/v1/${path}`)}${sent}`;
}

function choose(tab) {
  for (const one of TABS) {
    const isChosen = one === tab;
    one.setAttribute("aria-selected", String(isChosen));
    one.tabIndex = isChosen ? 0 : -1;
    by(one.getAttribute("aria-controls")).hidden = !isChosen;
  }
}

for (const [at, tab] of TABS.entries()) {
  tab.onclick = () => choose(tab);
  tab.onkeydown = (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = TABS[1 - at];
    choose(other);
    other.focus();
  };
}
