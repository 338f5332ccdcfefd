//! Policies of collections: what the three calls of `CollectionConfig` set and tell.
//!
//! Inputs: requests. Outputs: rows of the collection [`RESERVED`], which every node of the mesh gets, and what they
//! say. What it does not do: enforce; the engine does.

use super::documents::parse_collection;
use super::service::Sidecar;
use super::status::IntoStatus as _;
use crate::vault::Content;
use buffa::EnumValue;
use connectrpc::ConnectError;
use peat_node_core::docs::Document;
use peat_node_core::ids::Key;
use peat_node_core::policy::{Deletion, Policy, RESERVED};
use peat_proto::sidecar::peat::sidecar::v1::{self as proto, DeletionPolicy};

impl Sidecar {
    pub(super) async fn set_policy(&self, config: Option<proto::CollectionConfig>) -> Result<(), ConnectError> {
        let Some(config) = config else { return Err(ConnectError::invalid_argument("config is missing")) };
        let collection = parse_collection(&config.collection)?;
        refuse_reserved(collection.as_str())?;
        let policy = Policy {
            deletion: deletion(&config.deletion_policy)?,
            soft_delete_ttl: config.soft_delete_ttl_secs,
            tombstone_ttl: config.tombstone_ttl_secs,
        };
        let key = row_of(collection.as_str())?;
        self.handle.put(key, policy.to_document()).await.map_err(|error| error.into_status())
    }

    /// None where none was set.
    pub(super) async fn policy(&self, collection: &str) -> Result<Option<proto::CollectionConfig>, ConnectError> {
        let collection = parse_collection(collection)?;
        let document = self.handle.get(row_of(collection.as_str())?).await.map_err(|error| error.into_status())?;
        let document = document.and_then(Content::into_document);
        Ok(document.and_then(|document| config(collection.as_str(), &document)))
    }

    /// Those that were set, by collection.
    pub(super) async fn policies(&self) -> Result<Vec<proto::CollectionConfig>, ConnectError> {
        let rows = self.handle.scan(&parse_collection(RESERVED)?).map_err(|error| error.into_status())?;
        let mut found = Vec::new();
        self.each_readable(rows, |(collection, content): (String, Content)| {
            found.extend(content.into_document().and_then(|document| config(&collection, &document)));
        })
        .await?;
        Ok(found)
    }
}

/// An error for the collection that the node keeps its own rows in.
pub(super) fn refuse_reserved(collection: &str) -> Result<(), ConnectError> {
    if collection == RESERVED {
        let text = format!("collection {RESERVED} is the node's own: set policies with SetCollectionConfig");
        return Err(ConnectError::invalid_argument(text));
    }
    Ok(())
}

fn row_of(collection: &str) -> Result<Key, ConnectError> {
    let reserved = parse_collection(RESERVED)?;
    Key::new(&reserved, collection).map_err(|error| error.into_status())
}

fn config(collection: &str, document: &Document) -> Option<proto::CollectionConfig> {
    let Policy { deletion, soft_delete_ttl, tombstone_ttl } = Policy::from_document(document)?;
    let deletion_policy = match deletion {
        Deletion::Soft => DeletionPolicy::DELETION_POLICY_SOFT_DELETE,
        Deletion::Tombstone => DeletionPolicy::DELETION_POLICY_TOMBSTONE,
        Deletion::ImplicitTtl => DeletionPolicy::DELETION_POLICY_IMPLICIT_TTL,
        Deletion::Immutable => DeletionPolicy::DELETION_POLICY_IMMUTABLE,
    };
    Some(proto::CollectionConfig {
        collection: collection.to_owned(),
        deletion_policy: deletion_policy.into(),
        soft_delete_ttl_secs: soft_delete_ttl,
        tombstone_ttl_secs: tombstone_ttl,
        ..Default::default()
    })
}

fn deletion(policy: &EnumValue<DeletionPolicy>) -> Result<Deletion, ConnectError> {
    match policy.as_known() {
        Some(DeletionPolicy::DELETION_POLICY_UNSPECIFIED | DeletionPolicy::DELETION_POLICY_SOFT_DELETE) => {
            Ok(Deletion::Soft)
        }
        Some(DeletionPolicy::DELETION_POLICY_TOMBSTONE) => Ok(Deletion::Tombstone),
        Some(DeletionPolicy::DELETION_POLICY_IMPLICIT_TTL) => Ok(Deletion::ImplicitTtl),
        Some(DeletionPolicy::DELETION_POLICY_IMMUTABLE) => Ok(Deletion::Immutable),
        None => {
            let text = format!("config.deletion_policy is {}, which is none of 0 to 4", policy.to_i32());
            Err(ConnectError::invalid_argument(text))
        }
    }
}
