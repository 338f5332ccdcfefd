//! Failures as the codes that callers see.
//!
//! Purpose: one place that decides which class an error has. Inputs: errors of names, JSON, queries and the handle.
//! Outputs: a [`ConnectError`], which connectrpc renders for each protocol. INTERNAL is for our own bugs alone and
//! carries an id that is also in the log. What it does not do: hide a cause; texts are for the person who calls.

use super::query::QueryError;
use crate::handle::HandleError;
use crate::store::StoreError;
use crate::telemetry::FilterError;
use connectrpc::ConnectError;
use peat_node_core::docs::json::JsonError;
use peat_node_core::event::{RequestError, StorageFault};
use peat_node_core::ids::NameError;
use std::error::Error;

/// An error that has a code. A trait of our own, since neither side of a `From` is ours.
pub(super) trait IntoStatus {
    /// The error as the caller sees it.
    fn into_status(self) -> ConnectError;
}

impl IntoStatus for NameError {
    fn into_status(self) -> ConnectError {
        ConnectError::invalid_argument(self.to_string())
    }
}

impl IntoStatus for JsonError {
    fn into_status(self) -> ConnectError {
        ConnectError::invalid_argument(self.to_string())
    }
}

impl IntoStatus for QueryError {
    fn into_status(self) -> ConnectError {
        ConnectError::invalid_argument(self.to_string())
    }
}

impl IntoStatus for FilterError {
    fn into_status(self) -> ConnectError {
        let text = chain(&self);
        match self {
            Self::Parse { .. } | Self::Length => ConnectError::invalid_argument(text),
            Self::NotInstalled => ConnectError::failed_precondition(text),
            Self::Reload(_) => internal(&text),
        }
    }
}

impl IntoStatus for StoreError {
    fn into_status(self) -> ConnectError {
        let text = chain(&self);
        tracing::warn!(category = self.category(), error = %text, "the store failed a call");
        storage(self.fault(), text)
    }
}

impl IntoStatus for RequestError {
    fn into_status(self) -> ConnectError {
        let text = self.to_string();
        match self {
            Self::NoAddress(_) | Self::Own | Self::Shape(_) => ConnectError::invalid_argument(text),
            Self::Unreachable { .. } => ConnectError::unavailable(text),
            Self::Storage { fault, .. } => storage(fault, text),
            Self::Revoked(_) | Self::Refused { .. } => ConnectError::permission_denied(text),
            Self::Conflict { .. } => ConnectError::aborted(text),
            Self::Immutable(_) | Self::Sealed => ConnectError::failed_precondition(text),
            Self::OverLimit { .. } | Self::TooLarge { .. } | Self::Quota(_) | Self::TooManyPeers { .. } => {
                ConnectError::resource_exhausted(text)
            }
        }
    }
}

impl IntoStatus for HandleError {
    fn into_status(self) -> ConnectError {
        match self {
            Self::Starting | Self::Stopped => ConnectError::unavailable(self.to_string()),
            Self::Request(error) => error.into_status(),
            Self::Store(error) => error.into_status(),
            Self::Seal(error) => internal(&chain(&error)),
            Self::Drain(error) => ConnectError::deadline_exceeded(error.to_string()),
        }
    }
}

/// A full disk has a code of its own: trying again soon may help with any other fault, but not with that one.
fn storage(fault: StorageFault, text: String) -> ConnectError {
    match fault {
        StorageFault::Full => ConnectError::resource_exhausted(text),
        StorageFault::Failed => ConnectError::unavailable(text),
    }
}

/// A bug of ours: the caller gets an id, the log gets the id and `what`.
pub(super) fn internal(what: &str) -> ConnectError {
    let id = uuid::Uuid::new_v4();
    tracing::error!(%id, what, "internal error");
    ConnectError::internal(format!("internal error {id}: please report it with this id, which is also in the log"))
}

/// An error with its causes, once each.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use connectrpc::ErrorCode;
    use peat_node_core::ids::PeerId;

    #[test]
    fn every_failure_has_the_class_of_its_cause() {
        let id = PeerId([7; 32]);
        let code = |error: RequestError| HandleError::Request(error).into_status().code;
        assert_eq!(code(RequestError::NoAddress(id)), ErrorCode::InvalidArgument);
        assert_eq!(code(RequestError::Own), ErrorCode::InvalidArgument);
        assert_eq!(code(RequestError::Immutable("logs".into())), ErrorCode::FailedPrecondition);
        assert_eq!(code(RequestError::Shape("a path is too long".into())), ErrorCode::InvalidArgument);
        assert_eq!(code(RequestError::Revoked(id)), ErrorCode::PermissionDenied);
        assert_eq!(code(RequestError::Unreachable { peer: id, reason: "timeout".into() }), ErrorCode::Unavailable);
        let refused = RequestError::Refused { peer: id, reason: "wrong shared key or app id".into() };
        assert_eq!(code(refused), ErrorCode::PermissionDenied);
        let storage = |fault| RequestError::Storage { fault, reason: "disk".into() };
        assert_eq!(code(storage(StorageFault::Failed)), ErrorCode::Unavailable);
        assert_eq!(code(storage(StorageFault::Full)), ErrorCode::ResourceExhausted);
        assert_eq!(code(RequestError::OverLimit { size: 2, limit: 1 }), ErrorCode::ResourceExhausted);
        assert_eq!(code(RequestError::TooLarge { size: 2, limit: 1 }), ErrorCode::ResourceExhausted);
        assert_eq!(code(RequestError::Quota("--quota-bytes".into())), ErrorCode::ResourceExhausted);
        assert_eq!(code(RequestError::TooManyPeers { limit: 1 }), ErrorCode::ResourceExhausted);
        assert_eq!(HandleError::Starting.into_status().code, ErrorCode::Unavailable);
    }

    #[test]
    fn a_store_failure_tells_its_cause() {
        let error = StoreError::Read { source: "input/output error".into() };
        let status = HandleError::Store(error).into_status();
        assert_eq!(status.code, ErrorCode::Unavailable);
        assert_eq!(status.message.as_deref(), Some("read the store: input/output error"));
    }

    #[test]
    fn a_bug_carries_an_id_and_not_its_text() {
        let status = internal("index out of bounds");
        assert_eq!(status.code, ErrorCode::Internal);
        assert!(!status.message.unwrap().contains("bounds"));
    }
}
