//! `peat-node export` and `peat-node import`: documents as lines of JSON.
//!
//! Purpose: a plain text that any tool reads, with one document on each line:
//! `{"collection":…,"docId":…,"document":{…}}`. Inputs: a snapshot of the node, or lines. Outputs: lines, or writes in
//! batches with a report for each line that fails. Memory is bounded by the constants below, whatever the amount. What
//! it does not do: keep versions, history or deletes; a backup does.

use super::ClientError;
use super::api::{Client, broken};
use super::output::{Printer, Progress};
use crate::cli::ApiArgs;
use connectrpc::{ConnectError, ErrorCode};
use peat_proto::sidecar::peat::node::v1 as node;
use peat_proto::sidecar::peat::node::v1::__buffa::oneof::edit;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write as _};
use tokio::sync::mpsc;

/// Lines of one call: they share the flushes of the disk.
const BATCH_LINES: usize = 500;

/// A call is made once its lines have so many bytes, and once no more input is at hand.
const BATCH_BYTES: usize = 256 * 1024;

/// Batches that are read ahead of the calls; the reader waits when there are so many.
const BATCHES_AHEAD: usize = 2;

/// Longest line: twice the largest document that a node may be configured to take.
const LONGEST_LINE: usize = 4 * 1024 * 1024;

/// One document. The JSON of the document is passed on as it is, so that every number keeps its text.
#[derive(Serialize)]
struct Exported<'a> {
    collection: &'a str,
    #[serde(rename = "docId")]
    doc_id: &'a str,
    document: &'a RawValue,
}

/// Writes one document as a line; the envelope of one of which that node does not have the key, as a string.
pub(super) fn write_line(out: &mut impl io::Write, collection: &str, doc_id: &str, json: &str) -> io::Result<()> {
    let document = if json.starts_with('{') { serde_json::from_str(json) } else { to_raw_value(json) }?;
    let document: &RawValue = &document;
    serde_json::to_writer(&mut *out, &Exported { collection, doc_id, document })?;
    out.write_all(b"\n")
}

#[derive(Deserialize)]
struct Imported {
    collection: String,
    #[serde(rename = "docId", alias = "doc_id")]
    doc_id: String,
    document: Box<RawValue>,
}

/// A line by its number, from 1, as a document or with what is wrong.
type Line = (u64, Result<Imported, String>);

pub(super) async fn export(api: &ApiArgs, collections: Vec<String>) -> Result<(), ClientError> {
    let client = Client::new(api)?;
    let request = node::WatchRequest { collections, ..Default::default() };
    let begun = tokio::time::timeout(client.timeout, client.node.watch(request)).await;
    let mut events = begun.map_err(|_| ConnectError::unavailable("the node did not answer in time"))??;
    let mut out = BufWriter::new(io::stdout());
    let mut progress = Progress::of("exported");
    while let Some(event) = events.message().await.map_err(|error| broken(error, events.trailers().is_some()))? {
        let event = event.to_owned_message();
        if event.snapshot_complete {
            out.flush()?;
            progress.end();
            return Ok(());
        }
        // What is stored has no deletes, and what the node sends is JSON.
        let Some(json) = &event.json_data else { continue };
        write_line(&mut out, &event.collection, &event.doc_id, json)?;
        progress.add(1);
    }
    Err(ClientError::Ended)
}

/// `from`: a file, or `-` for standard input.
pub(super) async fn import(api: &ApiArgs, from: String) -> Result<(), ClientError> {
    let client = Client::new(api)?;
    let input: Box<dyn Read + Send> = match from.as_str() {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path).map_err(|source| ClientError::Input { from: path.to_owned(), source })?),
    };
    let (batches, mut read) = mpsc::channel(BATCHES_AHEAD);
    // A thread of its own: nobody waits for it when a signal ends this process while it waits for a line.
    std::thread::spawn(move || {
        if let Err(error) = batch_lines(BufReader::with_capacity(BATCH_BYTES, input), &batches) {
            // Nobody reads the error of a reader whose import has ended.
            let _ = batches.blocking_send(Err(error));
        }
    });
    let mut tally = Tally { imported: 0, failed: 0, progress: Progress::of("imported") };
    while let Some(batch) = read.recv().await {
        let batch = batch.map_err(|source| ClientError::Input { from: from.clone(), source })?;
        write(&client, batch, &mut tally).await?;
    }
    tally.progress.end();
    let Tally { imported, failed, .. } = tally;
    let text = format!("imported {imported} documents, {failed} failed");
    Printer::new(api.output).line(&text, || json!({"imported": imported, "failed": failed}))?;
    if failed > 0 { Err(ClientError::Lines(failed)) } else { Ok(()) }
}

struct Tally {
    imported: u64,
    failed: u64,
    progress: Progress,
}

impl Tally {
    fn failed(&mut self, line: u64, why: &str) -> io::Result<()> {
        self.failed += 1;
        self.progress.clear();
        writeln!(io::stderr(), "line {line}: {why}")
    }
}

/// Reads to the end, or until nobody takes what is read.
fn batch_lines(mut input: BufReader<impl Read>, batches: &mpsc::Sender<io::Result<Vec<Line>>>) -> io::Result<()> {
    let (mut batch, mut bytes, mut number) = (Vec::new(), 0, 0);
    while let Some(line) = next_line(&mut input)? {
        number += 1;
        bytes += line.as_ref().map_or(0, Vec::len);
        let parsed = line.and_then(|line| match line.trim_ascii() {
            [] => Ok(None),
            text => serde_json::from_slice(text).map(Some).map_err(|error| error.to_string()),
        });
        batch.extend(parsed.transpose().map(|parsed| (number, parsed)));
        if batch.len() >= BATCH_LINES || bytes >= BATCH_BYTES || input.buffer().is_empty() {
            bytes = 0;
            if batches.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return Ok(());
            }
        }
    }
    // Fails only when nobody reads any more.
    let _ = batches.blocking_send(Ok(batch));
    Ok(())
}

/// The next line, or that it is too long; none at the end. No more than [`LONGEST_LINE`] of it is held.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Result<Vec<u8>, String>>> {
    let mut line = Vec::new();
    if input.take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() <= LONGEST_LINE || line.ends_with(b"\n") {
        return Ok(Some(Ok(line)));
    }
    input.skip_until(b'\n')?;
    Ok(Some(Err(format!("the line has more than {LONGEST_LINE} bytes"))))
}

/// Writes one batch, in as many calls as the node's limit on requests needs.
async fn write(client: &Client, batch: Vec<Line>, tally: &mut Tally) -> Result<(), ClientError> {
    let mut documents = Vec::with_capacity(batch.len());
    for (line, parsed) in batch {
        match parsed {
            Ok(document) => documents.push((line, document)),
            Err(why) => tally.failed(line, &why)?,
        }
    }
    let mut parts = vec![documents];
    while let Some(mut part) = parts.pop() {
        let Some(&(line, _)) = part.first() else { continue };
        let request = node::WriteRequest { edits: part.iter().map(put).collect(), ..Default::default() };
        match client.node.write_with_options(request, client.deadline()).await {
            Ok(answer) => count(&part, &answer.into_owned().results, tally)?,
            Err(error) if error.code == ErrorCode::ResourceExhausted && part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
            }
            Err(error) if error.code == ErrorCode::ResourceExhausted => {
                tally.failed(line, error.message.as_deref().unwrap_or("too large"))?;
            }
            Err(error) => return Err(ClientError::Import { line, error }),
        }
    }
    Ok(())
}

fn put((_, document): &(u64, Imported)) -> node::Edit {
    node::Edit {
        collection: document.collection.clone(),
        doc_id: document.doc_id.clone(),
        edit: Some(edit::Edit::PutJson(document.document.get().to_owned())),
        ..Default::default()
    }
}

fn count(part: &[(u64, Imported)], results: &[node::WriteResult], tally: &mut Tally) -> io::Result<()> {
    for ((line, _), result) in part.iter().zip(results) {
        match result.error.as_option() {
            Some(error) => tally.failed(*line, &format!("{}: {}", error.code, error.message))?,
            None => {
                tally.imported += 1;
                tally.progress.add(1);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_as_an_editor_does_and_one_that_is_too_long_is_passed_over() {
        let long = "x".repeat(LONGEST_LINE + 1);
        let good = r#"{"collection":"c","doc_id":"d","document":{"n":1.50}}"#;
        let text = format!("{good}\n\n  \n{long}\n[1]\n{good}");
        let (batches, mut read) = mpsc::channel(64);
        batch_lines(BufReader::new(text.as_bytes()), &batches).unwrap();
        drop(batches);
        let mut found = Vec::new();
        while let Some(batch) = read.blocking_recv() {
            found.extend(batch.unwrap());
        }
        let told: Vec<_> = found.iter().map(|(line, parsed)| (*line, parsed.is_ok())).collect();
        assert_eq!(told, [(1, true), (4, false), (5, false), (6, true)]);
        let (_, Ok(document)) = &found[0] else { unreachable!() };
        assert_eq!(document.document.get(), r#"{"n":1.50}"#, "as it was written");
    }
}
