//! `List` and `Digest`: one collection, page by page or as a whole.
//!
//! Inputs: a collection; the token of the page before. Outputs: documents ascending by id, or a count and a digest.
//! Memory is bounded by one page of the store and one answer, whatever the collection has. A token is the key of the
//! last document of its page, so nothing is kept for a caller, and a page goes on in the right place though documents
//! come and go meanwhile. What it does not do: show one moment. What is written while pages are read is in them or not.

use super::documents::parse_collection;
use super::service::Sidecar;
use super::status::IntoStatus as _;
use crate::handle::Listed;
use connectrpc::ConnectError;
use futures::stream::StreamExt as _;
use peat_node_core::docs::Kind;
use peat_node_core::ids::{Collection, Key};
use peat_proto::sidecar::peat::node::v1 as proto;
use sha2::{Digest as _, Sha256};

/// Documents of a page whose caller names no number.
const PAGE: usize = 100;

/// Most documents of a page: with the longest ids some 1 MB.
const LARGEST_PAGE: usize = 1_000;

impl Sidecar {
    pub(super) async fn page(&self, request: &proto::ListRequest) -> Result<proto::ListResponse, ConnectError> {
        let collection = parse_collection(&request.collection)?;
        let after = place(&request.page_token, &collection)?;
        let mut page = Page::of(request, self.document_limit);
        let mut items = self.handle.listed(&collection, after.as_ref()).map_err(|error| error.into_status())?;
        while let Some(item) = items.next().await {
            let Some(listed) = self.readable(item)? else { continue };
            if !page.takes(&listed) {
                return Ok(page.with_more_behind());
            }
            page.add(listed);
        }
        Ok(page.without_more())
    }

    pub(super) async fn digest_of(&self, collection: &str) -> Result<proto::DigestResponse, ConnectError> {
        let collection = parse_collection(collection)?;
        let (mut document_count, mut json_bytes, mut hash) = (0, 0, Sha256::new());
        let mut items = self.handle.listed(&collection, None).map_err(|error| error.into_status())?;
        while let Some(item) = items.next().await {
            let Some(listed) = self.readable(item)? else { continue };
            document_count += 1;
            json_bytes += listed.json.len() as u64;
            for text in [listed.key.doc_id(), &listed.json] {
                // No text of a document is near 4 GiB.
                hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
                hash.update(text);
            }
        }
        let digest = hash.finalize().to_vec();
        let kind = match self.handle.kind(&collection).map_err(|error| error.into_status())? {
            Kind::Full => proto::Kind::KIND_FULL,
            Kind::Latest => proto::Kind::KIND_LATEST,
        };
        Ok(proto::DigestResponse { document_count, json_bytes, digest, kind: kind.into(), ..Default::default() })
    }
}

/// A page that is being filled.
struct Page {
    documents: Vec<proto::ListedDocument>,
    size: usize,
    with_json: bool,
    /// Bytes of JSON that still fit.
    room: usize,
    last: Option<Key>,
}

impl Page {
    fn of(request: &proto::ListRequest, document_limit: usize) -> Self {
        let size = match request.page_size {
            0 => PAGE,
            size => LARGEST_PAGE.min(size as usize),
        };
        let with_json = request.include_documents;
        // As in an answer to `Read`.
        Self { documents: Vec::new(), size, with_json, room: super::batch::ROOM * document_limit, last: None }
    }

    /// The first document always fits, so that a caller gets on.
    fn takes(&self, listed: &Listed) -> bool {
        let fits = !self.with_json || self.documents.is_empty() || listed.json.len() <= self.room;
        self.documents.len() < self.size && fits
    }

    fn add(&mut self, listed: Listed) {
        let Listed { key, version, json } = listed;
        self.room = self.room.saturating_sub(json.len());
        self.documents.push(proto::ListedDocument {
            doc_id: key.doc_id().to_owned(),
            version: version.to_vec(),
            json_data: self.with_json.then_some(json),
            ..Default::default()
        });
        self.last = Some(key);
    }

    fn with_more_behind(self) -> proto::ListResponse {
        let token = self.last.as_ref().map(|key| key.as_bytes().to_vec()).unwrap_or_default();
        proto::ListResponse { next_page_token: token, ..self.without_more() }
    }

    fn without_more(self) -> proto::ListResponse {
        proto::ListResponse { documents: self.documents, ..Default::default() }
    }
}

/// The key that the page begins behind.
fn place(token: &[u8], collection: &Collection) -> Result<Option<Key>, ConnectError> {
    if token.is_empty() {
        return Ok(None);
    }
    let key = Key::decode(token).ok().filter(|key| key.collection() == collection.as_str());
    key.map(Some).ok_or_else(|| ConnectError::invalid_argument("page_token is not of a list of this collection"))
}
