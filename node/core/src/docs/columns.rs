//! How many operations a change says it has, without decoding them.
//!
//! Purpose: columns are run lengths, so that a change of a hundred bytes can stand for thousands of millions of
//! operations, and Automerge makes each of them before anybody can count. Source: Automerge binary document format,
//! "Change Chunks" and "Column types". Inputs: a change, not compressed; outputs: counts. What it does not do: check
//! the rest of it; Automerge does.

use super::{chunk, leb128};

/// The columns, by specification, of which Automerge takes as many entries as there are, whatever the others say: what
/// operations do, and which writes they overwrite.
const COUNTED: [u64; 2] = [0x42, 0x71];
/// In a specification: the column is compressed. Automerge takes no such change.
const DEFLATED: u64 = 8;

/// The most that `change` has of operations, or of writes that those overwrite; none where it cannot be told. Stops
/// counting above `most`.
pub(super) fn longest(change: &[u8], most: u64) -> Option<u64> {
    let mut input = Input(chunk::content(change)?);
    let deps = input.number()?;
    input.skip(deps.checked_mul(32)?)?;
    input.skip_prefixed()?;
    // Its place in the row, the first operation, and the time: the width of a number does not depend on its sign.
    (0..3).try_for_each(|_| input.number().map(drop))?;
    input.skip_prefixed()?;
    let others = input.number()?;
    (0..others).try_for_each(|_| input.skip_prefixed())?;
    let mut columns = Vec::new();
    for _ in 0..input.number()? {
        columns.push((input.number()?, input.number()?));
    }
    let mut longest = 0;
    for (specification, length) in columns {
        let column = input.skip(length)?;
        if COUNTED.contains(&(specification & !DEFLATED)) {
            longest = longest.max(entries(column, most)?);
        }
    }
    Some(longest)
}

/// Entries of a column of numbers; it stops above `most`.
fn entries(column: &[u8], most: u64) -> Option<u64> {
    let mut input = Input(column);
    let mut total = 0_u64;
    while !input.0.is_empty() && total <= most {
        let count = input.signed()?;
        let run = match count {
            // As many nulls.
            0 => input.number()?,
            1.. => {
                input.number()?;
                count.unsigned_abs()
            }
            // As many different ones.
            _ => {
                (0..count.unsigned_abs()).try_for_each(|_| input.number().map(drop))?;
                count.unsigned_abs()
            }
        };
        total = total.saturating_add(run);
    }
    Some(total)
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn skip(&mut self, bytes: u64) -> Option<&'a [u8]> {
        let (skipped, rest) = self.0.split_at_checked(usize::try_from(bytes).ok()?)?;
        self.0 = rest;
        Some(skipped)
    }

    fn skip_prefixed(&mut self) -> Option<()> {
        let length = self.number()?;
        self.skip(length).map(drop)
    }

    /// A number, and how many bytes it took.
    fn leb128(&mut self) -> Option<(u64, usize)> {
        let (number, width) = leb128::read(self.0)?;
        self.0 = &self.0[width..];
        Some((number, width))
    }

    fn number(&mut self) -> Option<u64> {
        self.leb128().map(|(number, _)| number)
    }

    fn signed(&mut self) -> Option<i64> {
        let (number, width) = self.leb128()?;
        let unused = u64::BITS.saturating_sub(7 * width as u32);
        Some((number << unused).cast_signed() >> unused)
    }
}
