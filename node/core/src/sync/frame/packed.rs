//! Frames made smaller for the way.
//!
//! Purpose: changes of one collection are much alike (actors, paths, names), so together they shrink to a half or a
//! third, which is what a narrow link needs most. Raw DEFLATE (RFC 1951) behind the length of what is in it. Inputs: a
//! frame; outputs: the same, packed, and back. What it does not do: decide which frames are worth it.

use super::{FrameError, LONGEST};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// DEFLATE makes nothing smaller than by this (RFC 1951 with the longest matches): a longer promise is not kept.
const SMALLEST: usize = 1032;

/// `plain` behind `tag`, if that is shorter.
pub(super) fn pack(tag: u8, plain: &[u8]) -> Option<Bytes> {
    let mut content = Vec::with_capacity(plain.len());
    let mut compress = Compress::new(Compression::fast(), false);
    // What does not fit the room of the original is no gain.
    let ended = compress.compress_vec(plain, &mut content, FlushCompress::Finish);
    if !matches!(ended, Ok(Status::StreamEnd)) || content.len() + 5 >= plain.len() {
        return None;
    }
    let mut packed = BytesMut::with_capacity(content.len() + 5);
    packed.put_u8(tag);
    packed.put_u32(u32::try_from(plain.len()).ok()?);
    packed.put_slice(&content);
    Some(packed.freeze())
}

/// What was packed; `input` is behind the tag.
pub(super) fn unpack(input: &mut Bytes) -> Result<Bytes, FrameError> {
    if input.len() < 4 {
        return Err(FrameError::Short);
    }
    let length = usize::try_from(input.get_u32()).unwrap_or(usize::MAX);
    if length > LONGEST || length / SMALLEST > input.len() {
        return Err(FrameError::Field("length"));
    }
    let mut plain = Vec::with_capacity(length);
    let mut decompress = Decompress::new(false);
    let ended = decompress.decompress_vec(input, &mut plain, FlushDecompress::Finish);
    let ended = ended.map_err(|_| FrameError::Field("packing"))?;
    if ended != Status::StreamEnd || plain.len() != length {
        return Err(FrameError::Field("length"));
    }
    input.advance(usize::try_from(decompress.total_in()).unwrap_or(usize::MAX).min(input.len()));
    Ok(plain.into())
}
