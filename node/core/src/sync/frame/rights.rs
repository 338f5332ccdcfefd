//! The fields of frames about rights.
//!
//! Inputs: bytes of a peer; outputs: values, or a [`FrameError`]. What it does not do: know frames.

use super::wire::{put_list, put_place, take_list, take_place, take_u8, take_u64};
use super::{FrameError, Verdict};
use crate::ids::Collection;
use crate::rights::{Grants, MOST_COLLECTIONS, Right};
use crate::sync::digest::Place;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

/// What two neighbours know a peer's grants by: the beginning of their SHA-256.
pub(crate) fn fingerprint(grants: &Grants) -> u64 {
    let mut encoded = BytesMut::new();
    put_grants(&mut encoded, grants);
    Sha256::digest(&encoded).iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn put_right(out: &mut BytesMut, right: Right) {
    out.put_u8(u8::from(right.read) | u8::from(right.write) << 1);
}

fn take_right(input: &mut Bytes) -> Result<Right, FrameError> {
    match take_u8(input)? {
        bits @ 0..4 => Ok(Right { read: bits & 1 != 0, write: bits & 2 != 0 }),
        _ => Err(FrameError::Field("right")),
    }
}

pub(super) fn put_grants(out: &mut BytesMut, grants: &Grants) {
    put_right(out, grants.rest());
    put_list(out, &grants.named().collect::<Vec<_>>(), |out, (name, right)| {
        out.put_u8(name.len() as u8);
        out.put_slice(name.as_bytes());
        put_right(out, *right);
    });
}

pub(super) fn take_grants(input: &mut Bytes) -> Result<Grants, FrameError> {
    let rest = take_right(input)?;
    let named: Vec<(Collection, Right)> = take_list(input, 3, |input| Ok((take_name(input)?, take_right(input)?)))?;
    // As many as a file may name, and the policies.
    if named.len() > MOST_COLLECTIONS + 1 {
        return Err(FrameError::Field("grants"));
    }
    Ok(Grants::new(rest, named.iter().map(|(name, right)| (name.as_str(), *right))))
}

fn take_name(input: &mut Bytes) -> Result<Collection, FrameError> {
    let length = usize::from(take_u8(input)?);
    if input.remaining() < length {
        return Err(FrameError::Short);
    }
    let name = input.split_to(length);
    let name = std::str::from_utf8(&name).map_err(|_| FrameError::Field("collection"))?;
    Collection::parse(name).map_err(|_| FrameError::Field("collection"))
}

pub(super) fn put_asked(out: &mut BytesMut, place: Place, digest: u64) {
    put_place(out, place);
    out.put_u64(digest);
}

pub(super) fn take_asked(input: &mut Bytes) -> Result<(Place, u64), FrameError> {
    Ok((take_place(input)?, take_u64(input)?))
}

pub(super) fn take_verdict(input: &mut Bytes) -> Result<Verdict, FrameError> {
    match take_u8(input)? {
        0 => Ok(Verdict::Same),
        1 => Ok(Verdict::Differs),
        2 => Ok(Verdict::Nothing),
        _ => Err(FrameError::Field("verdict")),
    }
}
