// automerge-repo as a peer of the benchmark: a sync server that writes, and clients of it in processes of their own, over WebSocket
// on loopback, with the storage on files that the project ships and every default.
//
// Usage: pair.mjs FOLDER DOCUMENT HOPS BURST EDITS. DOCUMENT is a document in JSON, whose field `speed` is another number in each.
// Its last line is JSON: the times in milliseconds and the resident memory of the writer in MiB. A document has no name that its
// readers could know before it is there, so they are told its URL by a pipe. Times of all processes are of one clock of the kernel.
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { Repo } from "@automerge/automerge-repo";
import { WebSocketClientAdapter, WebSocketServerAdapter } from "@automerge/automerge-repo-network-websocket";
import { NodeFSStorageAdapter } from "@automerge/automerge-repo-storage-nodefs";
import { WebSocketServer } from "ws";

// process.hrtime is CLOCK_MONOTONIC, the same in every process.
const now = () => Number(process.hrtime.bigint()) / 1e6;
const turn = () => new Promise((resolve) => setImmediate(resolve));

async function client(url, folder) {
  const repo = new Repo({ storage: new NodeFSStorageAdapter(folder), network: [new WebSocketClientAdapter(url)] });
  await once(repo.networkSubsystem, "peer");
  const connected = now();
  // A question that overtakes the document is answered with "unavailable"; the document comes all the same.
  const here = async (url) => {
    const handle = await repo.find(url, { allowableStates: ["ready", "unavailable"] });
    await handle.whenReady();
    return handle;
  };
  process.on("message", async ({ find, until }) => {
    const handles = await Promise.all(find.map(here));
    if (until !== undefined && handles[0].doc().speed !== until) {
      await new Promise((resolve) => handles[0].on("change", ({ doc }) => doc.speed === until && resolve()));
    }
    process.send({ connected, seen: now() });
  });
  // Without its writer it has no purpose.
  process.on("disconnect", () => process.exit());
  process.send({ connected });
}

class Reader {
  constructor(url, folder) {
    this.process = fork(process.argv[1], ["client", url, folder], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    this.process.on("exit", (code, signal) => {
      console.error(`a reader ended: ${code ?? signal}`);
      process.exit(1);
    });
  }
  async said() {
    return (await once(this.process, "message"))[0];
  }
  ask(find, until) {
    this.process.send({ find, until });
  }
}

async function pair(folder, document, hops, burst, edits) {
  const sockets = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(sockets, "listening");
  const network = [new WebSocketServerAdapter(sockets)];
  const repo = new Repo({ storage: new NodeFSStorageAdapter(join(folder, "writer")), network });
  const address = `ws://127.0.0.1:${sockets.address().port}`;
  const reader = new Reader(address, join(folder, "reader"));
  await reader.said();
  const urls = [];
  const create = (speed) => {
    urls.push(repo.create({ ...document, speed }).url);
    return urls.at(-1);
  };

  const hop_ms = [];
  for (let n = 0; n < hops; n++) {
    const began = now();
    reader.ask([create(n)]);
    hop_ms.push((await reader.said()).seen - began);
  }

  let began = now();
  const made = [];
  for (let n = 0; n < burst; n++) {
    made.push(create(hops + n));
    // So that what was made is sent meanwhile.
    if (n % 64 === 63) await turn();
  }
  reader.ask(made);
  const burst_ms = (await reader.said()).seen - began;

  const edited = await repo.find(urls[0]);
  began = now();
  reader.ask([urls[0]], -edits);
  for (let n = 1; n <= edits; n++) {
    edited.change((doc) => { doc.speed = -n; });
    await turn();
  }
  const edits_ms = (await reader.said()).seen - began;

  const late = new Reader(address, join(folder, "late"));
  await late.said();
  late.ask(urls);
  const { connected, seen } = await late.said();
  const memory_mib = process.memoryUsage().rss / 2 ** 20;
  console.log(JSON.stringify({ hop_ms, burst_ms, edits_ms, first_sync_ms: seen - connected, memory_mib }));
  process.exit(0);
}

const [first, ...rest] = process.argv.slice(2);
if (first === "client") await client(...rest);
else await pair(first, JSON.parse(rest[0]), ...rest.slice(1).map(Number));
