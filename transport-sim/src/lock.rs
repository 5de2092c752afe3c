//! Locking that outlives a panic.
//!
//! A panic in any task ends the run, and the unwinding drops every other task. Their destructors
//! take the same locks; if those refused because a panic had poisoned them, a second panic during
//! the unwinding would abort the process and lose the verdict.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, poisoned or not.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
