import { HubConnectionBuilder } from "@microsoft/signalr";

const url = process.argv[2] ?? "http://127.0.0.1:4480/signalr";
const builder = new HubConnectionBuilder().withUrl(`${url}?user=carol`).configureLogging("error");
const hub = builder.withAutomaticReconnect().build();
hub.on("ReceiveMessage", (text) => console.log(text));
hub.on("fanfare.Removed", (group, code, reason) => console.log(`removed from ${group}: ${reason}`));
hub.onreconnected(() => hub.invoke("JoinGroup", "lobby"));
await hub.start();
const members = await hub.invoke("JoinGroup", "lobby");
await hub.invoke("SendToOthersInGroup", "lobby", "ReceiveMessage", "Hello from SignalR");
console.log(`in the lobby, with ${members - 1} others`);
