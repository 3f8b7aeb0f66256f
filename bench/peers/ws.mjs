// A hub on `ws`: topics and who listens to them. `s TOPIC`, `u TOPIC`, `p TOPIC TEXT`.

import { WebSocketServer } from "ws";
import { listen, server, version } from "./listen.mjs";

version("ws");
const http = server();
const hub = new WebSocketServer({ server: http, perMessageDeflate: false });
const topics = new Map();
hub.on("connection", (socket) => {
  const own = new Set();
  const leave = (topic) => {
    own.delete(topic);
    const members = topics.get(topic);
    members?.delete(socket);
    if (members?.size === 0) topics.delete(topic);
  };
  socket.on("message", (data) => {
    const text = data.toString();
    const space = text.indexOf(" ", 2);
    const topic = text.slice(2, space < 0 ? undefined : space);
    if (text[0] === "p") {
      const payload = text.slice(space + 1);
      for (const member of topics.get(topic) ?? []) member.send(payload);
      return;
    }
    if (text[0] === "s") {
      own.add(topic);
      if (!topics.has(topic)) topics.set(topic, new Set());
      topics.get(topic).add(socket);
    } else {
      leave(topic);
    }
    socket.send("ok");
  });
  socket.on("error", () => {});
  socket.on("close", () => own.forEach(leave));
});
listen(http);
