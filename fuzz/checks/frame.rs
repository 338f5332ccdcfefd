//! Bytes are a frame or an error, and a frame that was read is written and read as the same one.

use bytes::Bytes;
use peat_node_core::sync::frame::Frame;

/// Panics when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(Bytes::copy_from_slice(bytes)) {
        assert_eq!(Frame::decode(frame.encode()).as_ref(), Ok(&frame));
    }
}
