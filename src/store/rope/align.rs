//! Which members of two sequences are the same: the pairs of indices, ascending on both sides, that a diff keeps.

use std::collections::HashMap;

/// Differences that the exact search puts up with: it takes their square in time and space.
const MAX_DIFFERENCES: usize = 256;

/// As many pairs as possible, or `None` if there are more than [`MAX_DIFFERENCES`] members without one. Myers, "An O(ND)
/// difference algorithm and its variations" (1986), forward search.
pub fn shortest_edit(left: &[u128], right: &[u128]) -> Option<Vec<(usize, usize)>> {
    let (n, m) = (left.len() as isize, right.len() as isize);
    let limit = ((n + m) as usize).min(MAX_DIFFERENCES);
    let offset = limit as isize + 1;
    // The furthest position in `left` on each diagonal k = (position in left) - (position in right).
    let mut furthest = vec![0_isize; 2 * limit + 3];
    let mut history: Vec<Vec<isize>> = Vec::new();
    for d in 0..=limit as isize {
        history.push(furthest.clone());
        for k in (-d..=d).step_by(2) {
            let at = |k: isize| (k + offset) as usize;
            let insert = k == -d || k != d && furthest[at(k - 1)] < furthest[at(k + 1)];
            let mut x = if insert {
                furthest[at(k + 1)]
            } else {
                furthest[at(k - 1)] + 1
            };
            while x < n
                && x - k < m
                && x >= 0
                && x - k >= 0
                && left[x as usize] == right[(x - k) as usize]
            {
                x += 1;
            }
            furthest[at(k)] = x;
            if x >= n && x - k >= m {
                return Some(backtrack(&history, offset, n, m));
            }
        }
    }
    None
}

/// The matches on the way that the search took to the ends of both sequences.
fn backtrack(history: &[Vec<isize>], offset: isize, n: isize, m: isize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let (mut x, mut y) = (n, m);
    for (d, furthest) in history.iter().enumerate().rev() {
        let d = d as isize;
        let k = x - y;
        let at = |k: isize| (k + offset) as usize;
        let insert = k == -d || k != d && furthest[at(k - 1)] < furthest[at(k + 1)];
        let before = if d == 0 {
            (0, 0)
        } else if insert {
            (furthest[at(k + 1)], furthest[at(k + 1)] - k - 1)
        } else {
            (furthest[at(k - 1)], furthest[at(k - 1)] - k + 1)
        };
        // Back along the diagonal to where the one difference of this step was made.
        while x > before.0 && y > before.1 {
            x -= 1;
            y -= 1;
            pairs.push((x as usize, y as usize));
        }
        (x, y) = before;
    }
    pairs.reverse();
    pairs
}

/// What stands once in either sequence, as many of these as are in the same order; of them only such as `is_wanted` says, given
/// the index on the left. (The heart of Bram Cohen's patience diff.)
pub fn unique_anchors(
    left: &[u128],
    right: &[u128],
    is_wanted: impl Fn(usize) -> bool,
) -> Vec<(usize, usize)> {
    let once = |keys: &[u128]| {
        let mut places: HashMap<u128, Option<usize>> = HashMap::with_capacity(keys.len());
        for (at, key) in keys.iter().enumerate() {
            places
                .entry(*key)
                .and_modify(|place| *place = None)
                .or_insert(Some(at));
        }
        places
    };
    let (in_left, in_right) = (once(left), once(right));
    let place = |places: &HashMap<u128, Option<usize>>, key| places.get(key).copied().flatten();
    let candidates: Vec<(usize, usize)> = left
        .iter()
        .enumerate()
        .filter(|(at, key)| is_wanted(*at) && place(&in_left, key) == Some(*at))
        .filter_map(|(at, key)| Some((at, place(&in_right, key)?)))
        .collect();
    longest_ascending(&candidates)
}

/// The longest part, by patience sorting, whose second numbers ascend; the first ones do already.
fn longest_ascending(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // The last pair of the best part of each length, and of each pair the one before it.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (index, pair) in pairs.iter().enumerate() {
        let length = tails.partition_point(|&tail| pairs[tail].1 < pair.1);
        before.push(length.checked_sub(1).map(|shorter| tails[shorter]));
        if length == tails.len() {
            tails.push(index);
        } else {
            tails[length] = index;
        }
    }
    let last = tails.last().copied();
    let mut part: Vec<_> = std::iter::successors(last, |&at| before[at])
        .map(|at| pairs[at])
        .collect();
    part.reverse();
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(left: &[u128], right: &[u128], pairs: &[(usize, usize)]) {
        assert!(
            pairs
                .windows(2)
                .all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1),
            "{pairs:?}"
        );
        assert!(pairs.iter().all(|&(l, r)| left[l] == right[r]), "{pairs:?}");
    }

    /// The length of a longest common part, by the textbook's table.
    fn longest(left: &[u128], right: &[u128]) -> usize {
        let mut row = vec![0; right.len() + 1];
        for l in left {
            let mut diagonal = 0;
            for (at, r) in right.iter().enumerate() {
                let above = row[at + 1];
                row[at + 1] = if l == r {
                    diagonal + 1
                } else {
                    above.max(row[at])
                };
                diagonal = above;
            }
        }
        row[right.len()]
    }

    proptest! {
        #[test]
        fn few_differences_are_found_exactly(
            left in prop::collection::vec(0..6_u128, 0..100),
            right in prop::collection::vec(0..6_u128, 0..100),
        ) {
            let pairs = shortest_edit(&left, &right).unwrap();
            check(&left, &right, &pairs);
            prop_assert_eq!(pairs.len(), longest(&left, &right));
        }

        #[test]
        fn ascending_parts_are_the_longest(order in Just((0..60_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let pairs: Vec<_> = order.iter().copied().enumerate().collect();
            let keys: Vec<u128> = order.iter().map(|&at| at as u128).collect();
            let part = longest_ascending(&pairs);
            let sorted: Vec<u128> = (0..60).collect();
            check(&keys, &sorted, &part);
            prop_assert_eq!(part.len(), longest(&keys, &sorted));
        }
    }

    /// Every tenth of thousands is new: too many differences for the exact search, but the others stand once.
    #[test]
    fn what_stands_once_is_found_among_many_differences() {
        let left: Vec<u128> = (0..10_000).collect();
        let right: Vec<u128> = left
            .iter()
            .map(|&key| if key % 10 == 0 { key + 100_000 } else { key })
            .collect();
        assert_eq!(shortest_edit(&left, &right), None);
        let pairs = unique_anchors(&left, &right, |_| true);
        check(&left, &right, &pairs);
        assert_eq!(pairs.len(), 9_000);
        assert_eq!(unique_anchors(&left, &right, |at| at == 1), [(1, 1)]);
        assert_eq!(unique_anchors(&[7, 7, 8], &[8, 7], |_| true), [(2, 0)]);
    }
}
