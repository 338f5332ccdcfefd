// Clients of the connect-es family and of grpc-web against a running node: every protocol, from a descriptor set.
//
// Usage: client.mjs URL SOCKET NODE_ID EXACT DESCRIPTOR_SET, where EXACT is a document of integers. Exits with an error when anything is not as the API says.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import grpcWeb from "grpc-web";
import xhr2 from "xhr2";

const [baseUrl, socketPath, nodeId, exact, descriptors] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = registry.getService("peat.sidecar.v1.PeatSidecar");
const message = (name) => registry.getMessage(`peat.sidecar.v1.${name}`);
const UPSERT = 1, DELETE = 2;
// No double has this value.
const ODD = 2n ** 62n + 1n;

async function everything(name, transport) {
  const node = createClient(service, transport);
  const at = { collection: "es", docId: name };
  assert.equal((await node.getStatus({})).nodeId, nodeId);
  await node.putDocument({ ...at, jsonData: '{"hello":"world"}' });
  assert.equal((await node.getDocument(at)).jsonData, '{"hello":"world"}');
  assert.deepEqual((await node.listDocuments(at)).docIds, [name]);
  await node.putDocument({ collection: "exact", docId: name, jsonData: exact });
  assert.equal((await node.getDocument({ collection: "exact", docId: name })).jsonData, exact);
  await node.putCommand({ command: { id: name, targetId: "n", createdAt: ODD } });
  assert.equal((await node.getCommands({})).commands.find((command) => command.id === name).createdAt, ODD);
  await assert.rejects(node.putDocument({ ...at, collection: "a:b", jsonData: "{}" }), (error) => {
    assert.equal(error.code, Code.InvalidArgument);
    return error.rawMessage.includes("collection");
  });
  const seen = [];
  for await (const event of node.subscribe({ collections: ["es"] })) {
    seen.push([event.docId, event.changeType]);
    if (event.changeType === DELETE) break;
    await node.deleteDocument(at);
  }
  assert.deepEqual(seen, [[name, UPSERT], [name, DELETE]]);
  assert.equal((await node.getDocument(at)).jsonData, undefined);
}

// grpc-web is written for browsers: all it takes from one is XMLHttpRequest.
async function text() {
  globalThis.XMLHttpRequest = xhr2.XMLHttpRequest ?? xhr2;
  const client = new grpcWeb.GrpcWebClientBase({ format: "text" });
  const method = (name, kind, request, response) =>
    new grpcWeb.MethodDescriptor(`/peat.sidecar.v1.PeatSidecar/${name}`, kind, Object, Object,
      (value) => toBinary(message(request), create(message(request), value)),
      (bytes) => fromBinary(message(response), bytes));
  const unary = (name, value) => {
    const descriptor = method(name, grpcWeb.MethodType.UNARY, `${name}Request`, `${name}Response`);
    return client.thenableCall(`${baseUrl}/peat.sidecar.v1.PeatSidecar/${name}`, value, {}, descriptor);
  };
  const at = { collection: "text", docId: "one" };
  await unary("PutDocument", { ...at, jsonData: '{"hello":"world"}' });
  assert.equal((await unary("GetDocument", at)).jsonData, '{"hello":"world"}');
  await assert.rejects(unary("PutDocument", { ...at, jsonData: "[1]" }), (error) => {
    assert.equal(error.code, grpcWeb.StatusCode.INVALID_ARGUMENT);
    return error.message.includes("array");
  });
  // xhr2 gives the text of an answer at its end alone, so the stream here is one that has an end.
  const watch = method("Subscribe", grpcWeb.MethodType.SERVER_STREAMING, "SubscribeRequest", "DocumentChange");
  const url = `${baseUrl}/peat.sidecar.v1.PeatSidecar/Subscribe`;
  const stream = client.serverStreaming(url, { collections: ["a:b"] }, {}, watch);
  const error = await new Promise((resolve) => stream.on("error", resolve));
  assert.equal(error.code, grpcWeb.StatusCode.INVALID_ARGUMENT);
}

const limit = setTimeout(() => { throw new Error("not in time"); }, 60_000);
for (const [name, transport] of [
  ["connect-json", createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false })],
  ["connect-binary", createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: true })],
  ["connect-json-unix", createConnectTransport({ baseUrl: "http://localhost", httpVersion: "1.1", nodeOptions: { socketPath } })],
  ["grpc", createGrpcTransport({ baseUrl })],
  ["grpc-web", createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })],
]) {
  await everything(name, transport);
  console.log(name);
}
await text();
console.log("grpc-web-text");
clearTimeout(limit);
process.exit(0);
