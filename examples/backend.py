"""The back end of a chat, which stays where it is: Fanfare asks it who may connect and what a method gives, and tells it
what happens (docs/webhooks.md); it acts by the HTTP API (docs/api.md). Beside Python 3.10 it needs `standardwebhooks`.

In, as variables: FANFARE_API, which the server's ready line has as `api=`; FANFARE_API_KEY, with the scopes
`send:group:*`, `members` and `mint`; WEBHOOK_SECRET; SESSIONS, who is signed in here, as {"session": "user"}; PORT, on
this machine, behind whatever has the certificate. Out: a line for each event, and for each trouble. Invariants: nothing
that a webhook says counts before its signature does; a key, a secret, a session or a token is in no line.
"""

import json
import os
import sys
from collections import OrderedDict, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from standardwebhooks import Webhook, WebhookVerificationError

# Which rooms are open to whom. A real one asks its database.
PEOPLE = {"alice": ["lobby", "staff"], "bob": ["lobby"]}

API, KEY = os.environ["FANFARE_API"], os.environ["FANFARE_API_KEY"].strip()
SIGNALR = os.environ.get("FANFARE_SIGNALR", API.removesuffix("/api/v1") + "/signalr")
HOOK = Webhook(os.environ["WEBHOOK_SECRET"].strip())
SESSIONS = json.loads(os.environ.get("SESSIONS", "{}"))

lock = Lock()
seen = OrderedDict()  # The ids of what came last.
here = defaultdict(dict)  # Who is in which room, by connections.


class Refused(Exception):
    """What was asked for is not done: an HTTP status, and why."""


def api(operation, **body):
    """Has the server do something, and gives what it answers."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    try:
        with urlopen(Request(f"{API}/{operation}", json.dumps(body).encode(), headers), timeout=10) as answer:
            return json.load(answer)
    except HTTPError as error:
        with error:
            detail = error.read(500).decode(errors="replace")
        raise Refused(502, f"{operation} is refused: {error.code} {detail}") from None
    except OSError as error:
        raise Refused(502, f"{operation} does not reach {API}: {getattr(error, 'reason', error)}") from None


def is_new(name):
    """Whether a request, or an event of a batch, has not come before."""
    with lock:
        if name in seen:
            return False
        seen[name] = True
        if len(seen) > 10_000:
            seen.popitem(last=False)
        return True


def answer(question):
    """Whether somebody may connect, and what a method gives."""
    user = question["user"]
    rooms = PEOPLE.get(user, [])
    match question:
        case {"type": "connect"} if rooms:
            grants = [{"group": room, "may": ["join"]} for room in rooms]
            return {"groups": ["lobby"], "grants": grants, "data": {"rooms": rooms}}
        case {"type": "connect"}:
            raise Refused(403, f"nobody here knows {user}")
        case {"method": "Send" | "Join" | "Leave" | "Here", "arguments": [str(room), *_]} if room not in rooms:
            raise Refused(403, f"{room} is not open to you")
        case {"method": "Send", "arguments": [str(room), str(text)]}:
            # For SignalR's clients a list is the arguments of the handler.
            return api("send", to={"groups": [room]}, event="ReceiveMessage", json=[user, text])["queued"]
        case {"method": "Join", "arguments": [str(room)]}:
            # In it whenever they are here, from now on. To say something there takes Send.
            return not api("add-lasting", user=user, group=room, may="receive")["unchanged"]
        case {"method": "Leave", "arguments": [str(room)]}:
            return not api("remove-lasting", user=user, group=room)["unchanged"]
        case {"method": "Here", "arguments": [str(room)]}:
            with lock:
                return sorted(set(here.get(room, {}).values()))
        case {"method": "Send" | "Join" | "Leave" | "Here" as method}:
            raise Refused(400, f"{method} takes a room, and Send a text behind it")
    raise Refused(404, "there is no such method")


def take(event):
    """Keeps what an event changes. After `lost` a real one asks the API who is here."""
    with lock:
        print("event", json.dumps(event), flush=True)
        match event:
            case {"type": "started"}:  # Whoever was here before has gone.
                here.clear()
            case {"type": "joined", "group": room, "connection": connection, "user": user}:
                here[room][connection] = user
            case {"type": "left", "group": room, "connection": connection}:
                here.get(room, {}).pop(connection, None)


def webhook(headers, body):
    """Answers a question, or takes events."""
    try:
        said = HOOK.verify(body, headers)
    except (WebhookVerificationError, ValueError):  # The latter where a signature, or the body, is malformed.
        raise Refused(401, "the signature does not count") from None
    events = said if isinstance(said, list) else [{"id": headers["webhook-id"], "data": said}]
    for event in events:
        name, said = event["id"], event["data"]
        if said["type"] in ("connect", "invoke"):
            if is_new(name):
                return answer(said)
            raise Refused(409, "this was asked before")
        if is_new(name):
            take(said)


def negotiate(headers, _):
    """SignalR's clients come here first, with their session; what they are told leads them to Fanfare."""
    user = SESSIONS.get(headers.get("authorization", "").removeprefix("Bearer "))
    if user is None:
        raise Refused(401, "please sign in")
    # A connection ends with its token. Then its client asks here anew.
    return {"url": SIGNALR, "accessToken": api("mint-token", user=user, seconds=3600)["token"]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 90  # Longer than Fanfare keeps a connection without requests: it is the one that closes it.
    paths = {"/fanfare": webhook, "/chat/negotiate": negotiate}

    def do_POST(self):
        try:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > 4 * 1024 * 1024:
                self.close_connection = True  # What follows is no request.
                raise Refused(413, "a request says how long it is, and has 4 MiB at most")
            body, path = self.rfile.read(int(length)), self.path.partition("?")[0]
            if path not in self.paths:
                raise Refused(404, "there is nothing here")
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, said = 200, self.paths[path](headers, body)
        except Refused as refused:
            status, detail = refused.args
            said = {"detail": detail}
            if status == 502:
                with lock:
                    print("trouble", json.dumps(detail), file=sys.stderr, flush=True)
        text = b"" if said is None else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Says nothing: a URL may have a token in it."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Handler) as server:
        print(f"ready http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
