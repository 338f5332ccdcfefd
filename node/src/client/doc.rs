//! `peat-node doc`.
//!
//! Inputs: a [`DocCommand`]. Outputs: documents, ids and changes as lines. What it does not do: check documents; the
//! node does.

use super::ClientError;
use super::api::{Client, broken};
use super::output::Printer;
use crate::cli::{ApiArgs, DocCommand};
use connectrpc::ConnectError;
use peat_node_core::ids::PeerId;
use peat_proto::sidecar::peat::node::v1 as node;
use peat_proto::sidecar::peat::node::v1::__buffa::oneof::edit;
use peat_proto::sidecar::peat::sidecar::v1 as proto;
use serde_json::{Value, json};

/// Ids asked for at once: the node's largest page.
const LIST_PAGE: u32 = 1_000;

pub(super) async fn run(command: DocCommand) -> Result<(), ClientError> {
    match command {
        DocCommand::Put { collection, id, json, stored_by, ttl, api } => {
            let concern = concern(&stored_by)?;
            put(&api, (collection, id), &json, (concern, ttl)).await
        }
        DocCommand::Get { collection, id, api } => get(&api, collection, id).await,
        DocCommand::List { collection, api } => list(&api, collection).await,
        DocCommand::Digest { collection, api } => digest(&api, collection).await,
        DocCommand::Delete { collection, id, api } => delete(&api, collection, id).await,
        DocCommand::Watch { collection, query_eq, api } => watch(&api, collection, &query_eq).await,
    }
}

/// Each a number of peers, of which the largest holds, or an endpoint id.
fn concern(stored_by: &[String]) -> Result<Option<node::Concern>, ClientError> {
    let mut concern = node::Concern::default();
    for text in stored_by {
        match (text.parse::<u32>(), PeerId::parse(text)) {
            (Ok(peers), _) => concern.peers = concern.peers.max(peers),
            (_, Ok(id)) => concern.endpoint_ids.push(id.to_string()),
            _ => {
                return Err(ClientError::Usage(format!(
                    "--stored-by: `{text}` is neither a number nor an endpoint id"
                )));
            }
        }
    }
    Ok((!stored_by.is_empty()).then_some(concern))
}

async fn put(
    api: &ApiArgs,
    (collection, id): (String, String),
    json: &str,
    (concern, ttl_secs): (Option<node::Concern>, u64),
) -> Result<(), ClientError> {
    let json_data = match (json, json.strip_prefix('@')) {
        ("-", _) => read("standard input", std::io::stdin())?,
        (_, Some(path)) => {
            let file = std::fs::File::open(path);
            read(path, file.map_err(|source| ClientError::Input { from: path.to_owned(), source })?)?
        }
        (text, None) => text.to_owned(),
    };
    let client = Client::new(api)?;
    let (text, value) = named("stored", &collection, &id);
    if concern.is_none() && ttl_secs == 0 {
        let request = proto::PutDocumentRequest { collection, doc_id: id, json_data, ..Default::default() };
        client.put_document_with_options(request, client.deadline()).await?;
        Printer::new(api.output).line(&text, || value)?;
        return Ok(());
    }
    let edit = Some(edit::Edit::PutJson(json_data));
    let edits = vec![node::Edit { collection, doc_id: id, edit, ttl_secs, ..Default::default() }];
    let waits = concern.is_some();
    let (wait, options) = client.wait();
    let options = if waits { options } else { client.deadline() };
    let concern = concern.map(|concern| node::Concern { wait: Some(wait).into(), ..concern });
    let request = node::WriteRequest { edits, concern: concern.into(), ..Default::default() };
    let answer = client.node.write_with_options(request, options).await?.into_owned();
    let result = answer.results.into_iter().next().unwrap_or_default();
    if let Some(error) = result.error.as_option() {
        return Err(ClientError::Edit { code: error.code.clone(), message: error.message.clone() });
    }
    if waits && !result.concern_met {
        return Err(ClientError::Concern(result.stored_by));
    }
    Printer::new(api.output).line(&text, || value)?;
    Ok(())
}

async fn get(api: &ApiArgs, collection: String, id: String) -> Result<(), ClientError> {
    let client = Client::new(api)?;
    let request =
        proto::GetDocumentRequest { collection: collection.clone(), doc_id: id.clone(), ..Default::default() };
    let response = client.get_document_with_options(request, client.deadline()).await?.into_owned();
    let Some(json_data) = response.json_data else { return Err(ClientError::NotFound { collection, id }) };
    Printer::new(api.output).line(&json_data, || parsed(&json_data))?;
    Ok(())
}

/// Page by page, so that the memory of both sides does not grow with the collection.
async fn list(api: &ApiArgs, collection: String) -> Result<(), ClientError> {
    let client = Client::new(api)?;
    let mut printer = Printer::new(api.output);
    let mut page_token = Vec::new();
    loop {
        let collection = collection.clone();
        let request = node::ListRequest { collection, page_size: LIST_PAGE, page_token, ..Default::default() };
        let page = client.node.list_with_options(request, client.deadline()).await?.into_owned();
        for listed in page.documents {
            printer.line(&listed.doc_id, || json!(listed.doc_id))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

async fn digest(api: &ApiArgs, collection: String) -> Result<(), ClientError> {
    let client = Client::new(api)?;
    let request = node::DigestRequest { collection, ..Default::default() };
    let told = client.node.digest_with_options(request, client.deadline()).await?.into_owned();
    Printer::new(api.output).fields(&[
        ("documents", json!(told.document_count)),
        ("jsonBytes", json!(told.json_bytes)),
        ("digest", json!(hex::encode(&told.digest))),
    ])?;
    Ok(())
}

async fn delete(api: &ApiArgs, collection: String, id: String) -> Result<(), ClientError> {
    let client = Client::new(api)?;
    let (text, value) = named("deleted", &collection, &id);
    let request = proto::DeleteDocumentRequest { collection, doc_id: id, ..Default::default() };
    client.delete_document_with_options(request, client.deadline()).await?;
    Printer::new(api.output).line(&text, || value)?;
    Ok(())
}

async fn watch(api: &ApiArgs, collections: Vec<String>, query_eq: &[String]) -> Result<(), ClientError> {
    let clauses = query_eq.iter().map(|text| equality(text)).collect::<Result<Vec<_>, _>>()?;
    let query = (!clauses.is_empty()).then(|| {
        let and = proto::QueryAnd { clauses, ..Default::default() };
        proto::SubscriptionQuery { q: and.into(), ..Default::default() }
    });
    let request = proto::SubscribeRequest { collections, query: query.into(), ..Default::default() };
    let client = Client::new(api)?;
    let begun = tokio::time::timeout(client.timeout, client.subscribe(request)).await;
    let mut events = begun.map_err(|_| ConnectError::unavailable("the node did not answer in time"))??;
    let mut printer = Printer::new(api.output);
    while let Some(event) = events.message().await.map_err(|error| broken(error, events.trailers().is_some()))? {
        let proto::DocumentChange { collection, doc_id, change_type, json_data, .. } = event.to_owned_message();
        let change = change_type.as_known().map_or_else(|| change_type.to_i32().to_string(), change_name);
        let text = format!("{change} {collection}/{doc_id} {}", json_data.as_deref().unwrap_or_default());
        printer.line(text.trim_end(), || {
            json!({
                "change": change,
                "collection": collection,
                "docId": doc_id,
                "document": json_data.as_deref().map_or(Value::Null, parsed),
            })
        })?;
    }
    Err(ClientError::Ended)
}

/// `field=value` as a clause: a value that is no JSON is a string, so that people need not quote quotes.
fn equality(text: &str) -> Result<proto::SubscriptionQuery, ClientError> {
    let Some((field, value)) = text.split_once('=').filter(|(field, _)| !field.is_empty()) else {
        return Err(ClientError::Usage(format!("--query-eq: `{text}` is not FIELD=VALUE")));
    };
    let value = match serde_json::from_str::<Value>(value) {
        Ok(_) => value.to_owned(),
        Err(_) => Value::from(value).to_string(),
    };
    let eq = proto::QueryEq { field: field.to_owned(), value, ..Default::default() };
    Ok(proto::SubscriptionQuery { q: eq.into(), ..Default::default() })
}

fn change_name(change: proto::ChangeType) -> String {
    let name = buffa::Enumeration::proto_name(&change);
    name.strip_prefix("CHANGE_TYPE_").unwrap_or(name).to_lowercase()
}

fn read(from: &str, mut input: impl std::io::Read) -> Result<String, ClientError> {
    let mut text = String::new();
    match input.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(source) => Err(ClientError::Input { from: from.to_owned(), source }),
    }
}

fn named(done: &str, collection: &str, id: &str) -> (String, Value) {
    (format!("{done} {collection}/{id}"), json!({"collection": collection, "docId": id}))
}

/// A document that the node sent, as a value; its text where it is none.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| json.into())
}
