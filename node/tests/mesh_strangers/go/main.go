// A connect-go client against a running node: every protocol it speaks, with every HTTP that the protocol allows, over TCP and a
// Unix socket.
//
// Usage: client ADDRESS SOCKET NODE_ID EXACT, where EXACT is a document of integers. Prints a line for each way that worked, and
// exits with an error when anything is not as the API says.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"connectrpc.com/connect"

	"peat.mesh/strangers/gen/node"
	"peat.mesh/strangers/gen/node/nodeconnect"
	"peat.mesh/strangers/gen/sidecar"
	"peat.mesh/strangers/gen/sidecar/sidecarconnect"
)

const limit = 30 * time.Second

var protocols = []struct {
	name    string
	http1   bool
	options []connect.ClientOption
}{
	{"connect", true, nil},
	{"connect-json", true, []connect.ClientOption{connect.WithProtoJSON()}},
	{"grpc-web", true, []connect.ClientOption{connect.WithGRPCWeb()}},
	{"grpc", false, []connect.ClientOption{connect.WithGRPC()}},
}

// client has connections of its own, with or without prior knowledge of HTTP/2.
func client(network, address string, http2 bool) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return &http.Client{Transport: transport}
}

func must(ok bool, format string, values ...any) {
	if !ok {
		log.Fatalf(format, values...)
	}
}

func check(err error) {
	must(err == nil, "%v", err)
}

func documents(ctx context.Context, api sidecarconnect.PeatSidecarClient, id, nodeID, exact string) {
	status, err := api.GetStatus(ctx, connect.NewRequest(&sidecar.GetStatusRequest{}))
	check(err)
	must(status.Msg.NodeId == nodeID, "node id %q", status.Msg.NodeId)
	put := &sidecar.PutDocumentRequest{Collection: "go", DocId: id, JsonData: exact}
	_, err = api.PutDocument(ctx, connect.NewRequest(put))
	check(err)
	found, err := api.GetDocument(ctx, connect.NewRequest(&sidecar.GetDocumentRequest{Collection: "go", DocId: id}))
	check(err)
	must(found.Msg.GetJsonData() == exact, "read %q", found.Msg.GetJsonData())
	list, err := api.ListDocuments(ctx, connect.NewRequest(&sidecar.ListDocumentsRequest{Collection: "go"}))
	check(err)
	must(slices.Equal(list.Msg.DocIds, []string{id}), "listed %q", list.Msg.DocIds)
}

// integers are those that no double has.
func integers(ctx context.Context, api sidecarconnect.PeatSidecarClient, id string) {
	odd := int64(1)<<62 + 1
	command := &sidecar.Command{Id: id, TargetId: "n", Status: sidecar.CommandStatus_COMMAND_STATUS_PENDING, CreatedAt: odd}
	_, err := api.PutCommand(ctx, connect.NewRequest(&sidecar.PutCommandRequest{Command: command}))
	check(err)
	commands, err := api.GetCommands(ctx, connect.NewRequest(&sidecar.GetCommandsRequest{}))
	check(err)
	same := func(found *sidecar.Command) bool { return found.Id == id && found.CreatedAt == odd }
	must(slices.ContainsFunc(commands.Msg.Commands, same), "commands %v", commands.Msg.Commands)
}

func subscription(ctx context.Context, api sidecarconnect.PeatSidecarClient, id string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := api.Subscribe(ctx, connect.NewRequest(&sidecar.SubscribeRequest{Collections: []string{"go"}}))
	check(err)
	next := func(wanted sidecar.ChangeType) {
		must(stream.Receive(), "the stream ended: %v", stream.Err())
		event := stream.Msg()
		must(event.DocId == id && event.ChangeType == wanted, "event %v", event)
	}
	next(sidecar.ChangeType_CHANGE_TYPE_UPSERT)
	at := &sidecar.DeleteDocumentRequest{Collection: "go", DocId: id}
	_, err = api.DeleteDocument(ctx, connect.NewRequest(at))
	check(err)
	next(sidecar.ChangeType_CHANGE_TYPE_DELETE)
	cancel()
	must(!stream.Receive() && connect.CodeOf(stream.Err()) == connect.CodeCanceled, "after the end: %v", stream.Err())
}

func failures(ctx context.Context, api sidecarconnect.PeatSidecarClient) {
	put := &sidecar.PutDocumentRequest{Collection: "a:b", DocId: "c", JsonData: "{}"}
	_, err := api.PutDocument(ctx, connect.NewRequest(put))
	must(connect.CodeOf(err) == connect.CodeInvalidArgument, "a wrong name: %v", err)
	stream, err := api.Subscribe(ctx, connect.NewRequest(&sidecar.SubscribeRequest{Collections: []string{"a:b"}}))
	check(err)
	must(!stream.Receive() && connect.CodeOf(stream.Err()) == connect.CodeInvalidArgument, "a wrong name: %v", stream.Err())
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	stream, err = api.Subscribe(ctx, connect.NewRequest(&sidecar.SubscribeRequest{Collections: []string{"empty"}}))
	check(err)
	must(!stream.Receive() && connect.CodeOf(stream.Err()) == connect.CodeDeadlineExceeded, "a deadline: %v", stream.Err())
}

// versions are of the second service: a write from a stale read fails.
func versions(ctx context.Context, api nodeconnect.NodeClient, id string) {
	write := func(edit *node.Edit) *node.WriteResult {
		edit.Collection, edit.DocId = "versions", id
		answer, err := api.Write(ctx, connect.NewRequest(&node.WriteRequest{Edits: []*node.Edit{edit}}))
		check(err)
		return answer.Msg.Results[0]
	}
	body := &node.Edit_PutJson{PutJson: `{"a":1}`}
	first := write(&node.Edit{Edit: body, Condition: &node.Edit_IfAbsent{IfAbsent: &node.Absent{}}})
	must(first.GetError() == nil && len(first.GetVersion()) > 0, "the first: %v", first)
	second := write(&node.Edit{Edit: body, Condition: &node.Edit_IfAbsent{IfAbsent: &node.Absent{}}})
	must(second.GetError().GetCode() == "ABORTED", "the second: %v", second)
}

func main() {
	address, socket, nodeID, exact := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	for _, protocol := range protocols {
		for _, version := range []string{"http1", "http2"} {
			if version == "http1" && !protocol.http1 {
				continue
			}
			for _, target := range [][2]string{{"tcp", address}, {"unix", socket}} {
				way := fmt.Sprintf("%s %s %s", protocol.name, version, target[0])
				log.SetPrefix(way + ": ")
				ctx, cancel := context.WithTimeout(context.Background(), limit)
				http := client(target[0], target[1], version == "http2")
				api := sidecarconnect.NewPeatSidecarClient(http, "http://localhost", protocol.options...)
				documents(ctx, api, way, nodeID, exact)
				integers(ctx, api, way)
				subscription(ctx, api, way)
				failures(ctx, api)
				versions(ctx, nodeconnect.NewNodeClient(http, "http://localhost", protocol.options...), way)
				cancel()
				fmt.Println(way)
			}
		}
	}
}
