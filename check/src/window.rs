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

/// Says whether the history is illegal with these answers alone, if that can be found out.
pub(crate) type Judge<'a> = &'a mut dyn FnMut(&Kept) -> Option<bool>;

/// What was found.
#[derive(Debug)]
pub(crate) struct Window {
    /// Answers with which the history is illegal.
    pub(crate) kept: Kept,
    /// Whether none of them can be taken away.
    pub(crate) smallest: bool,
    /// Whether the history is legal up to the last of them.
    pub(crate) before_is_legal: bool,
}

/// Looks for a smallest set of answers with which the history is illegal, among the `answered`
/// calls, which come in the order of their answers: among the first `certain` of them if possible,
/// before whose last one the history is legal, and else among as few more as possible. None, when no
/// set of acceptable size is known to be illegal.
pub(crate) fn smallest(
    answered: &[u32],
    certain: usize,
    suspects: &[u32],
    judge: Judge<'_>,
) -> Option<Window> {
    let window = |end: usize, width: usize| -> Kept {
        let last = &answered[end.saturating_sub(width)..end];
        last.iter().chain(suspects).copied().collect()
    };
    let suspected: Kept = suspects.iter().copied().collect();
    if judge(&suspected) == Some(true) {
        return Some(reduce(suspected, true, judge));
    }
    for width in WIDTHS {
        if judge(&window(certain, width)) == Some(true) {
            return Some(reduce(window(certain, width), true, judge));
        }
        if judge(&window(answered.len(), width)) != Some(true) {
            continue;
        }
        let mut ends = certain + 1..answered.len();
        let end = ends.find(|end| judge(&window(*end, width)) == Some(true));
        let end = end.unwrap_or(answered.len());
        let everything_before = answered[..end - 1].iter().copied().collect();
        let before_is_legal = judge(&everything_before) == Some(false);
        return Some(reduce(window(end, width), before_is_legal, judge));
    }
    None
}

/// Takes answers away as long as the rest is illegal, many at once at first.
fn reduce(mut kept: Kept, before_is_legal: bool, judge: Judge<'_>) -> Window {
    let mut attempts = 0;
    let mut chunk = kept.len().div_ceil(2);
    while chunk > 0 {
        let mut candidates: Vec<u32> = kept.iter().copied().collect();
        // Removing one answer may make another one superfluous, so single ones are tried until
        // nothing changes.
        let before = kept.len();
        while !candidates.is_empty() {
            if attempts == ATTEMPTS_MAX {
                return Window { kept, smallest: false, before_is_legal };
            }
            attempts += 1;
            let without = candidates.split_off(candidates.len().saturating_sub(chunk));
            let fewer: Kept = kept.iter().copied().filter(|one| !without.contains(one)).collect();
            if judge(&fewer) == Some(true) {
                kept = fewer;
            }
        }
        if chunk > 1 || kept.len() == before {
            chunk /= 2;
        }
    }
    Window { kept, smallest: true, before_is_legal }
}
