// tus' own server for Node.js, as its documentation starts it: node tus_server.mjs FOLDER. Prints its port.
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";
import { createServer } from "node:http";

const tus = new Server({ path: "/files", relativeLocation: true, datastore: new FileStore({ directory: process.argv[2] }) });
const server = createServer((request, response) => tus.handle(request, response));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
