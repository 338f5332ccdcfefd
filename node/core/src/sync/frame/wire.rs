//! The fields of frames: how each is written and read.
//!
//! Inputs: bytes of a peer; outputs: values, or a [`FrameError`]. Every length is checked against what is left before
//! anything is allocated for it. What it does not do: know frames.

use super::{FrameError, Payload};
use crate::docs::generation::{Epoch, Generation};
use crate::docs::life::{Life, Ttl};
use crate::docs::received::MOST_HEADS;
use crate::docs::row::{Have, Version};
use crate::ids::{Key, PeerId};
use crate::stamp::Stamp;
use crate::sync::digest::{DEPTH, FAN_OUT, Place};
use automerge::ChangeHash;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::num::NonZeroU32;

pub(super) fn put_list<T>(out: &mut BytesMut, items: &[T], put: impl Fn(&mut BytesMut, &T)) {
    out.put_u32(items.len() as u32);
    items.iter().for_each(|item| put(out, item));
}

pub(super) fn put_option<T>(out: &mut BytesMut, value: Option<&T>, put: impl Fn(&mut BytesMut, &T)) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn put_place(out: &mut BytesMut, place: Place) {
    out.put_u8(place.level);
    out.put_u16(place.index);
}

pub(super) fn put_key(out: &mut BytesMut, key: &Key) {
    out.put_u16(key.as_bytes().len() as u16);
    out.put_slice(key.as_bytes());
}

pub(super) fn put_numbered(out: &mut BytesMut, key: &Key, number: u64) {
    put_key(out, key);
    out.put_u64(number);
}

fn put_bytes(out: &mut BytesMut, bytes: &Bytes) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

fn put_ttl(out: &mut BytesMut, ttl: Option<Ttl>) {
    out.put_u32(Ttl::encode(ttl));
}

fn put_life(out: &mut BytesMut, life: Life) {
    let Life { generation, edited, tombstone, ttl } = life;
    [generation.born, edited, tombstone].iter().for_each(|stamp| out.put_u64(stamp.unwrap_or_default().0));
    put_ttl(out, ttl);
    out.put_u32(generation.epoch.map_or(0, |epoch| epoch.number.get()));
    generation.base().iter().for_each(|base| out.put_slice(&base.0));
}

pub(super) fn put_have(out: &mut BytesMut, have: &Have) {
    match have {
        Have::Full { heads, life } => {
            out.put_u8(1);
            put_life(out, *life);
            put_list(out, heads, |out, head| out.put_slice(&head.0));
        }
        Have::Latest { stamp, writer, ttl } => {
            out.put_u8(2);
            out.put_u64(stamp.0);
            out.put_slice(&writer.0);
            put_ttl(out, *ttl);
        }
    }
}

pub(super) fn put_payload(out: &mut BytesMut, payload: &Payload) {
    match payload {
        Payload::Full { life, changes } => {
            out.put_u8(1);
            put_life(out, *life);
            put_list(out, changes, put_bytes);
        }
        Payload::Latest { stamp, writer, ttl, text } => {
            out.put_u8(2);
            out.put_u64(stamp.0);
            out.put_slice(&writer.0);
            put_ttl(out, *ttl);
            put_option(out, text.as_ref(), put_bytes);
        }
    }
}

fn need(input: &Bytes, bytes: usize) -> Result<(), FrameError> {
    if input.len() < bytes { Err(FrameError::Short) } else { Ok(()) }
}

pub(super) fn take_u8(input: &mut Bytes) -> Result<u8, FrameError> {
    need(input, 1)?;
    Ok(input.get_u8())
}

fn take_u32(input: &mut Bytes) -> Result<usize, FrameError> {
    need(input, 4)?;
    Ok(input.get_u32() as usize)
}

pub(super) fn take_u128(input: &mut Bytes) -> Result<u128, FrameError> {
    need(input, 16)?;
    Ok(input.get_u128())
}

pub(super) fn take_array<const N: usize>(input: &mut Bytes) -> Result<[u8; N], FrameError> {
    need(input, N)?;
    let mut array = [0; N];
    input.copy_to_slice(&mut array);
    Ok(array)
}

/// `smallest`: bytes of the smallest item, so that a count cannot ask for more memory than the frame could fill.
pub(super) fn take_list<T>(
    input: &mut Bytes,
    smallest: usize,
    take: impl Fn(&mut Bytes) -> Result<T, FrameError>,
) -> Result<Vec<T>, FrameError> {
    let count = take_u32(input)?;
    need(input, count.checked_mul(smallest).ok_or(FrameError::Short)?)?;
    (0..count).map(|_| take(input)).collect()
}

pub(super) fn take_option<T>(
    input: &mut Bytes,
    take: impl Fn(&mut Bytes) -> Result<T, FrameError>,
) -> Result<Option<T>, FrameError> {
    match take_u8(input)? {
        0 => Ok(None),
        1 => take(input).map(Some),
        _ => Err(FrameError::Field("option")),
    }
}

pub(super) fn take_place(input: &mut Bytes) -> Result<Place, FrameError> {
    need(input, 3)?;
    Place::new(input.get_u8(), input.get_u16()).ok_or(FrameError::Field("tree place"))
}

pub(super) fn take_key(input: &mut Bytes) -> Result<Key, FrameError> {
    need(input, 2)?;
    let length = usize::from(input.get_u16());
    need(input, length)?;
    Key::decode(&input.split_to(length)).map_err(|_| FrameError::Field("key"))
}

fn take_bytes(input: &mut Bytes) -> Result<Bytes, FrameError> {
    let length = take_u32(input)?;
    need(input, length)?;
    Ok(input.split_to(length))
}

pub(super) fn take_u64(input: &mut Bytes) -> Result<u64, FrameError> {
    need(input, 8)?;
    Ok(input.get_u64())
}

/// A tree node that has children, with their digests.
pub(super) fn take_children(input: &mut Bytes) -> Result<(Place, [u64; FAN_OUT]), FrameError> {
    let place = take_place(input)?;
    if place.level == DEPTH {
        return Err(FrameError::Field("tree place"));
    }
    let mut digests = [0; FAN_OUT];
    for digest in &mut digests {
        *digest = take_u64(input)?;
    }
    Ok((place, digests))
}

fn take_stamp(input: &mut Bytes) -> Result<Stamp, FrameError> {
    Ok(Stamp(take_u64(input)?))
}

fn take_ttl(input: &mut Bytes) -> Result<Option<Ttl>, FrameError> {
    need(input, 4)?;
    Ok(Ttl::decode(input.get_u32()))
}

fn take_life(input: &mut Bytes) -> Result<Life, FrameError> {
    let mut stamp = || take_stamp(input).map(|stamp| (stamp != Stamp::default()).then_some(stamp));
    let (born, edited, tombstone) = (stamp()?, stamp()?, stamp()?);
    let ttl = take_ttl(input)?;
    Ok(Life { generation: Generation { born, epoch: take_epoch(input)? }, edited, tombstone, ttl })
}

fn take_epoch(input: &mut Bytes) -> Result<Option<Epoch>, FrameError> {
    need(input, 4)?;
    let Some(number) = NonZeroU32::new(input.get_u32()) else { return Ok(None) };
    Ok(Some(Epoch { number, base: ChangeHash(take_array(input)?) }))
}

pub(super) fn take_have(input: &mut Bytes) -> Result<Have, FrameError> {
    match take_u8(input)? {
        1 => {
            let life = take_life(input)?;
            let heads = take_list(input, 32, |input| take_array(input).map(ChangeHash))?;
            if heads.len() > MOST_HEADS { Err(FrameError::Field("heads")) } else { Ok(Have::Full { heads, life }) }
        }
        2 => {
            let (stamp, writer) = (take_stamp(input)?, PeerId(take_array(input)?));
            Ok(Have::Latest { stamp, writer, ttl: take_ttl(input)? })
        }
        _ => Err(FrameError::Field("kind")),
    }
}

pub(super) fn take_payload(input: &mut Bytes) -> Result<Payload, FrameError> {
    match take_u8(input)? {
        1 => Ok(Payload::Full { life: take_life(input)?, changes: take_list(input, 4, take_bytes)? }),
        2 => Ok(Payload::Latest {
            stamp: take_stamp(input)?,
            writer: PeerId(take_array(input)?),
            ttl: take_ttl(input)?,
            text: take_option(input, take_bytes)?,
        }),
        _ => Err(FrameError::Field("kind")),
    }
}

pub(super) fn put_version(out: &mut BytesMut, (key, version): &(Key, Version)) {
    put_key(out, key);
    out.put_slice(version);
}

pub(super) fn take_version(input: &mut Bytes) -> Result<(Key, Version), FrameError> {
    Ok((take_key(input)?, take_array(input)?))
}
