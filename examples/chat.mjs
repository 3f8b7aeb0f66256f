import { HubConnectionBuilder } from "@microsoft/signalr";

// A session at the back end, whose `negotiate` sends its clients to Fanfare.
const [session, text, url = "http://127.0.0.1:8000/chat"] = process.argv.slice(2);
const builder = new HubConnectionBuilder().withUrl(url, { accessTokenFactory: () => session });
const hub = builder.withAutomaticReconnect().configureLogging("error").build();
hub.on("ReceiveMessage", (user, text) => console.log(`${user}: ${text}`));
await hub.start();
const reached = await hub.invoke("Send", "lobby", text);
console.log(`sent to ${reached}`);
