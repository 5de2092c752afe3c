//! From a contradiction in a long history to the few operations that make it.
//!
//! An operation whose answer is taken away may take effect at any later time, or never, so whatever
//! explained the history before still does. What is illegal without some answers is therefore
//! illegal with them, and those answers are not needed to see why. The window is what is left when
//! no further answer can be taken away.

use std::collections::BTreeSet;

/// Most attempts at making a window smaller.
const ATTEMPTS_MAX: usize = 400;
/// With how many answers a window is tried, one after another.
const WIDTHS: [usize; 4] = [16, 64, 256, 1024];

/// Numbers of calls whose answers are kept.
pub(crate) type Kept = BTreeSet<u32>;

/// Looks for a smallest set of answers with which the history is `illegal`, among the `answered`
/// calls, which come in the order of their answers: among the first `certain` of them if possible,
/// and else among as few more as possible. Gives back whether it is smallest, too; none, when no set
/// of acceptable size is illegal.
pub(crate) fn smallest(
    answered: &[u32],
    certain: usize,
    suspects: &[u32],
    illegal: &mut dyn FnMut(&Kept) -> bool,
) -> Option<(Kept, bool)> {
    let window = |end: usize, width: usize| -> Kept {
        let last = &answered[end.saturating_sub(width)..end];
        last.iter().chain(suspects).copied().collect()
    };
    let suspected: Kept = suspects.iter().copied().collect();
    if illegal(&suspected) {
        return Some(reduce(suspected, illegal));
    }
    for width in WIDTHS {
        if illegal(&window(certain, width)) {
            return Some(reduce(window(certain, width), illegal));
        }
        if !illegal(&window(answered.len(), width)) {
            continue;
        }
        let ends = certain + 1..answered.len();
        let earlier = ends.map(|end| window(end, width)).find(|kept| illegal(kept));
        let kept = earlier.unwrap_or_else(|| window(answered.len(), width));
        return Some(reduce(kept, illegal));
    }
    None
}

/// Takes answers away as long as the rest is illegal, many at once at first.
fn reduce(mut kept: Kept, illegal: &mut dyn FnMut(&Kept) -> bool) -> (Kept, bool) {
    let mut attempts = 0;
    let mut chunk = kept.len().div_ceil(2);
    while chunk > 0 {
        let mut candidates: Vec<u32> = kept.iter().copied().collect();
        // Removing one answer may make another one superfluous, so single ones are tried until
        // nothing changes.
        let before = kept.len();
        while !candidates.is_empty() {
            if attempts == ATTEMPTS_MAX {
                return (kept, false);
            }
            attempts += 1;
            let without = candidates.split_off(candidates.len().saturating_sub(chunk));
            let fewer: Kept = kept.iter().copied().filter(|one| !without.contains(one)).collect();
            if illegal(&fewer) {
                kept = fewer;
            }
        }
        if chunk > 1 || kept.len() == before {
            chunk /= 2;
        }
    }
    (kept, true)
}
