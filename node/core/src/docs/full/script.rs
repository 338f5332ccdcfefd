//! What two versions of a list have in common.
//!
//! Purpose: an edit of a list touches what it changes and nothing else, so that edits of one list by two nodes meet only
//! where they are about the same elements. Inputs: the elements before and after. Outputs: the pairs that stay. What it
//! does not do: edit; look into elements, which are the same or are not.
//!
//! Source: Myers, "An O(ND) Difference Algorithm and Its Variations", Algorithmica 1986.

/// Elements that one edit takes away and puts in, together. What differs more has little in common; the search takes
/// time and memory by the square of this.
const MOST: usize = 256;

/// Places before and after of the elements that stay, in rising order: the longest such row, or where that would take
/// away and put in more than [`MOST`] the common beginning and end.
pub(super) fn kept<T: PartialEq>(old: &[T], new: &[T]) -> Vec<(usize, usize)> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    let between = search(&old[start..old_end], &new[start..new_end]);
    let between = between.into_iter().map(|(before, after)| (start + before, start + after));
    let behind = (0..end).map(|place| (old_end + place, new_end + place));
    (0..start).map(|place| (place, place)).chain(between).chain(behind).collect()
}

/// Diagonals (place before less place after) are counted from this, so that none is below zero.
const MIDDLE: usize = MOST + 1;

/// How far each diagonal was reached with one edit more each time, up to the one that reaches the ends.
fn search<T: PartialEq>(old: &[T], new: &[T]) -> Vec<(usize, usize)> {
    if old.is_empty() || new.is_empty() {
        return Vec::new();
    }
    let mut reached = vec![0; 2 * MIDDLE + 1];
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for edits in 0..=MOST.min(old.len() + new.len()) {
        for diagonal in (MIDDLE - edits..=MIDDLE + edits).step_by(2) {
            let mut before = if comes_from_above(&reached, edits, diagonal) {
                reached[diagonal + 1]
            } else {
                reached[diagonal - 1] + 1
            };
            let after = before + MIDDLE - diagonal;
            let rest = old.iter().skip(before).zip(new.iter().skip(after));
            before += rest.take_while(|(a, b)| a == b).count();
            reached[diagonal] = before;
            if before == old.len() && before + MIDDLE - diagonal == new.len() {
                return walk_back(&rounds, (old.len(), new.len()));
            }
        }
        rounds.push(reached.clone());
    }
    Vec::new()
}

/// Whether the farthest way to this diagonal ends with an insertion, and not with a deletion.
fn comes_from_above(reached: &[usize], edits: usize, diagonal: usize) -> bool {
    diagonal == MIDDLE - edits || (diagonal != MIDDLE + edits && reached[diagonal - 1] < reached[diagonal + 1])
}

/// The pairs on the way that ends at `end`, which took one edit more than there are `rounds`.
fn walk_back(rounds: &[Vec<usize>], end: (usize, usize)) -> Vec<(usize, usize)> {
    let (mut before, mut after) = end;
    let mut pairs = Vec::new();
    for (round, reached) in rounds.iter().enumerate().rev() {
        let diagonal = before + MIDDLE - after;
        let from = if comes_from_above(reached, round + 1, diagonal) { diagonal + 1 } else { diagonal - 1 };
        let (earlier_before, earlier_after) = (reached[from], reached[from] + MIDDLE - from);
        while before > earlier_before && after > earlier_after {
            (before, after) = (before - 1, after - 1);
            pairs.push((before, after));
        }
        (before, after) = (earlier_before, earlier_after);
    }
    pairs.extend((0..before.min(after)).map(|place| (place, place)).rev());
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letters(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    fn stays(old: &str, new: &str) -> String {
        let old = letters(old);
        kept(&old, &letters(new)).into_iter().map(|(before, _)| old[before]).collect()
    }

    #[test]
    fn what_is_between_two_edits_stays() {
        assert_eq!(stays("abcdef", "xbcdey"), "bcde");
        assert_eq!(stays("abcabba", "cbabac").len(), 4, "the example of the paper");
        assert_eq!(stays("abc", ""), "");
        assert_eq!(stays("", "abc"), "");
        assert_eq!(stays("abc", "xyz"), "");
        assert_eq!(stays("abc", "abc"), "abc");
    }

    #[test]
    fn of_what_differs_too_much_only_the_ends_stay() {
        let old: Vec<usize> = (0..3_000).collect();
        let new: Vec<usize> = old.iter().map(|n| if n % 2 == 1 && *n < 2_998 { n + 10_000 } else { *n }).collect();
        assert_eq!(kept(&old, &new), [(0, 0), (2_998, 2_998), (2_999, 2_999)]);
        let new: Vec<usize> = old.iter().map(|n| if n % 30 == 1 { n + 10_000 } else { *n }).collect();
        assert_eq!(kept(&old, &new).len(), 2_900, "100 are replaced one by one");
    }

    /// The length of the longest common row, by the textbook.
    fn longest(old: &[u8], new: &[u8]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for a in old {
            let mut corner = 0;
            for (place, b) in new.iter().enumerate() {
                let above = row[place + 1];
                row[place + 1] = if a == b { corner + 1 } else { above.max(row[place]) };
                corner = above;
            }
        }
        row[new.len()]
    }

    proptest! {
        #[test]
        fn the_longest_common_row_stays(old in prop::collection::vec(0_u8..4, 0..40), new in prop::collection::vec(0_u8..4, 0..40)) {
            let pairs = kept(&old, &new);
            prop_assert!(pairs.iter().all(|(before, after)| old[*before] == new[*after]));
            prop_assert!(pairs.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1));
            prop_assert_eq!(pairs.len(), longest(&old, &new));
        }
    }
}
