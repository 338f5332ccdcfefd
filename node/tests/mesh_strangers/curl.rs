//! curl and the Connect protocol in JSON: unary calls and a stream of events, with HTTP/1.1 and HTTP/2, over TCP and
//! Unix.

use super::{Api, EXACT, leave_out, run};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

/// One way to the node.
struct Curl {
    url: String,
    flags: Vec<String>,
}

impl Curl {
    fn command(&self, method: &str, content_type: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--no-buffer", "--noproxy", "*", "--max-time", "30"]);
        curl.args(["-H", &format!("content-type: {content_type}")]).arg(format!("{}/{method}", self.url));
        curl.args(&self.flags);
        curl
    }

    /// A unary call: the answer, and the HTTP status.
    fn call(&self, method: &str, body: &Value) -> (Value, u16) {
        let mut curl = self.command(method, "application/json");
        let printed = run(curl.args(["-w", "\n%{http_code}", "-d", &body.to_string()]));
        let (answer, status) = printed.rsplit_once('\n').unwrap();
        (serde_json::from_str(answer).unwrap_or_default(), status.parse().unwrap())
    }

    /// A call that must succeed.
    fn ok(&self, method: &str, body: &Value) -> Value {
        let (answer, status) = self.call(method, body);
        assert_eq!(status, 200, "{method}: {answer}");
        answer
    }

    /// A streaming call.
    fn stream(&self, method: &str, body: &Value) -> Stream {
        let body = body.to_string();
        // Envelopes of the Connect protocol: flags, length, message.
        let mut request = vec![0];
        request.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        request.extend(body.as_bytes());
        let mut curl = self.command(method, "application/connect+json");
        curl.args(["--data-binary", "@-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = curl.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&request).unwrap();
        let answer = child.stdout.take().unwrap();
        Stream { child, answer }
    }
}

/// The answer to a streaming call, as it comes.
struct Stream {
    child: Child,
    answer: ChildStdout,
}

impl Stream {
    /// The flags and the message of the next envelope.
    fn next(&mut self) -> (u8, Value) {
        let mut head = [0; 5];
        self.answer.read_exact(&mut head).unwrap();
        let [flags, length @ ..] = head;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.answer.read_exact(&mut message).unwrap();
        (flags, serde_json::from_slice(&message).unwrap())
    }

    /// The next event: its document and what happened to it.
    fn event(&mut self) -> (String, String) {
        let (flags, event) = self.next();
        assert_eq!(flags, 0, "{event}");
        ["docId", "changeType"].map(|field| event[field].as_str().unwrap().to_owned()).into()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn documents(node: &Curl) {
    let at = json!({"collection": "curl", "docId": "one"});
    let put = |json: &str| json!({"collection": "curl", "docId": "one", "jsonData": json});
    assert_eq!(node.ok("GetStatus", &json!({}))["nodeId"], super::NODE_ID);
    assert_eq!(node.ok("PutDocument", &put(EXACT)), json!({}));
    assert_eq!(node.ok("GetDocument", &at), json!({"jsonData": EXACT}));
    assert_eq!(node.ok("ListDocuments", &at), json!({"docIds": ["one"]}));
    assert_eq!(node.ok("DeleteDocument", &at), json!({}));
    assert_eq!(node.ok("GetDocument", &at), json!({}));
}

fn failures(node: &Curl) {
    let (refused, status) = node.call("ListDocuments", &json!({"collection": "a:b"}));
    assert_eq!((&refused["code"], status), (&json!("invalid_argument"), 400));
    assert_eq!(node.call("NoSuchMethod", &json!({})).1, 404);
    // The status of a stream is sent before it is known how it ends: the error is its last message, which has a flag.
    let (flags, last) = node.stream("Subscribe", &json!({"collections": ["a:b"]})).next();
    assert_eq!((flags, &last["error"]["code"]), (2, &json!("invalid_argument")));
}

fn subscription(node: &Curl) {
    let put = |doc_id: &str| node.ok("PutDocument", &json!({"collection": "feed", "docId": doc_id, "jsonData": "{}"}));
    put("stored");
    let mut events = node.stream("Subscribe", &json!({"collections": ["feed"]}));
    assert_eq!(events.event(), ("stored".to_owned(), "CHANGE_TYPE_UPSERT".to_owned()));
    put("live");
    assert_eq!(events.event(), ("live".to_owned(), "CHANGE_TYPE_UPSERT".to_owned()));
    for doc_id in ["live", "stored"] {
        node.ok("DeleteDocument", &json!({"collection": "feed", "docId": doc_id}));
        assert_eq!(events.event(), (doc_id.to_owned(), "CHANGE_TYPE_DELETE".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_connect_json_over_both_versions_of_http_and_both_kinds_of_socket() {
    if let Err(error) = Command::new("curl").arg("--version").output() {
        return leave_out("curl", &error.to_string());
    }
    let api = Api::start().await;
    let url = format!("http://{}/peat.sidecar.v1.PeatSidecar", api.authority);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for socket in [vec![], vec!["--unix-socket".to_owned(), api.socket()]] {
            let flags = [vec![version.to_owned()], socket].concat();
            let node = Curl { url: url.clone(), flags };
            documents(&node);
            failures(&node);
            subscription(&node);
        }
    }
}
