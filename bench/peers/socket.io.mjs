// A hub on Socket.IO, with its rooms: `s` joins, `u` leaves, `p` sends to a room.

import { Server } from "socket.io";
import { listen, server, version } from "./listen.mjs";

version("socket.io");
const http = server();
const hub = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });
hub.on("connection", (socket) => {
  socket.on("s", (room, done) => {
    socket.join(room);
    done();
  });
  socket.on("u", (room, done) => {
    socket.leave(room);
    done();
  });
  socket.on("p", (room, payload) => hub.to(room).emit("m", payload));
});
listen(http);
