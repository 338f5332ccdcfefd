"""A gRPC client in Python against a running node: the generated stubs, health and reflection.

Usage: client.py TARGET NODE_ID EXACT, with the generated modules on the path; EXACT is a document of integers. Raises when anything is not as the API says.
"""
import sys
import threading

import grpc
import sidecar_pb2 as api
import sidecar_pb2_grpc as rpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

LIMIT = 30


def documents(node):
    node.PutDocument(api.PutDocumentRequest(collection="py", doc_id="one", json_data='{"hello":"world"}'), timeout=LIMIT)
    at = dict(collection="py", doc_id="one")
    assert node.GetDocument(api.GetDocumentRequest(**at), timeout=LIMIT).json_data == '{"hello":"world"}'
    assert list(node.ListDocuments(api.ListDocumentsRequest(collection="py"), timeout=LIMIT).doc_ids) == ["one"]
    node.DeleteDocument(api.DeleteDocumentRequest(**at), timeout=LIMIT)
    gone = node.GetDocument(api.GetDocumentRequest(**at), timeout=LIMIT)
    assert not gone.HasField("json_data"), gone


def integers(node, exact):
    node.PutDocument(api.PutDocumentRequest(collection="exact", doc_id="py", json_data=exact), timeout=LIMIT)
    assert node.GetDocument(api.GetDocumentRequest(collection="exact", doc_id="py"), timeout=LIMIT).json_data == exact
    # No double has this value.
    command = api.Command(id="k", target_id="n", status=api.COMMAND_STATUS_PENDING, created_at=2**62 + 1, payload_json="{}")
    node.PutCommand(api.PutCommandRequest(command=command), timeout=LIMIT)
    assert command in node.GetCommands(api.GetCommandsRequest(), timeout=LIMIT).commands


def failures(node):
    for request, code, word in [
        (api.PutDocumentRequest(collection="a:b", doc_id="c", json_data="{}"), grpc.StatusCode.INVALID_ARGUMENT, "collection"),
        (api.PutDocumentRequest(collection="a", doc_id="c", json_data="[1]"), grpc.StatusCode.INVALID_ARGUMENT, "array"),
        (api.PutDocumentRequest(collection="a", doc_id="c", json_data='{"a":"%s"}' % ("x" * (1 << 20))), grpc.StatusCode.RESOURCE_EXHAUSTED, "limit"),
    ]:
        try:
            node.PutDocument(request, timeout=LIMIT)
        except grpc.RpcError as error:
            assert (error.code(), word in error.details()) == (code, True), error
        else:
            raise AssertionError(f"accepted: {request}")


def subscription(node):
    query = api.SubscriptionQuery(eq=api.QueryEq(field="kind", value='"ferry"'))
    events = node.Subscribe(api.SubscribeRequest(collections=["watched"], query=query), timeout=LIMIT)
    # The headers come before any event.
    events.initial_metadata()

    def write():
        for doc_id, kind in [("a", "ferry"), ("b", "tug"), ("c", "ferry")]:
            json_data = '{"kind":"%s"}' % kind
            node.PutDocument(api.PutDocumentRequest(collection="watched", doc_id=doc_id, json_data=json_data), timeout=LIMIT)
        node.DeleteDocument(api.DeleteDocumentRequest(collection="watched", doc_id="c"), timeout=LIMIT)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    for event in events:
        seen.append((event.doc_id, event.change_type, event.HasField("json_data")))
        if event.change_type == api.CHANGE_TYPE_DELETE:
            break
    events.cancel()
    writer.join()
    # A reader that comes between put and delete sees both, a later one the delete alone.
    assert [one for one in seen if one[0] == "a"] == [("a", api.CHANGE_TYPE_UPSERT, True)], seen
    assert seen[-1] == ("c", api.CHANGE_TYPE_DELETE, False) and all(one[0] != "b" for one in seen), seen
    node.DeleteDocument(api.DeleteDocumentRequest(collection="watched", doc_id="a"), timeout=LIMIT)


def health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ["", "peat.sidecar.v1.PeatSidecar"]:
        request = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(request, timeout=LIMIT).status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(request, timeout=LIMIT)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


def reflection(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "peat.sidecar.v1.PeatSidecar" in database.get_services()
    file = database.FindFileContainingSymbol("peat.sidecar.v1.PeatSidecar")
    service = next(service for service in file.service if service.name == "PeatSidecar")
    compiled = api.DESCRIPTOR.services_by_name["PeatSidecar"]
    assert [method.name for method in service.method] == [method.name for method in compiled.methods]


def main(target, node_id, exact):
    # grpc-core makes an authority of the socket's path that RFC 9113 does not allow and servers built on h2 refuse.
    options = [("grpc.default_authority", "localhost")] if target.startswith("unix:") else []
    with grpc.insecure_channel(target, options) as channel:
        node = rpc.PeatSidecarStub(channel)
        assert node.GetStatus(api.GetStatusRequest(), timeout=LIMIT).node_id == node_id
        documents(node)
        integers(node, exact)
        failures(node)
        subscription(node)
        health(channel)
        reflection(channel)


if __name__ == "__main__":
    main(*sys.argv[1:])
