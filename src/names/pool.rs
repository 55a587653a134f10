//! Values that many objects have in common, each kept once.
//!
//! With thousands of connections, most of what is kept of one says the same as what is kept of another: conditions, what an instance
//! reports, what a spec resolves to. Whether a value is shared shows in nothing but the memory that it takes.

use std::{
    borrow::Borrow,
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// How many values are there before those that nobody uses any more are looked for.
const MIN_PURGED: usize = 64;

/// Values of one type, each once for as long as somebody uses it.
#[derive(Debug)]
pub struct Pool<T: ?Sized>(Mutex<Values<T>>);

#[derive(Debug)]
struct Values<T: ?Sized> {
    all: BTreeSet<Arc<T>>,
    /// How many of them lead to the next purge.
    purge_at: usize,
}

// === impl Pool ===

impl<T: Ord + ?Sized> Pool<T> {
    /// Nothing is shared yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Values { all: BTreeSet::new(), purge_at: MIN_PURGED }))
    }

    /// The value that all share who have one like it.
    pub fn share(&self, value: impl Borrow<T> + Into<Arc<T>>) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = values.all.get(value.borrow()) {
            return Arc::clone(shared);
        }
        if values.all.len() >= values.purge_at {
            values.all.retain(|value| Arc::strong_count(value) > 1);
            values.purge_at = MIN_PURGED.max(2 * values.all.len());
        }
        let value: Arc<T> = value.into();
        values.all.insert(Arc::clone(&value));
        value
    }
}

impl<T: Ord + ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_others_are_not() {
        let pool = Pool::<[u8]>::new();
        let (one, same, other) = (pool.share(vec![1, 2]), pool.share(vec![1, 2]), pool.share(vec![1]));
        assert!(Arc::ptr_eq(&one, &same));
        assert_eq!((&*one, &*other), (&[1, 2][..], &[1][..]));
    }

    #[test]
    fn what_nobody_uses_any_more_is_dropped_before_the_pool_grows_on() {
        let pool = Pool::<usize>::new();
        let used = pool.share(0);
        for number in 1..10 * MIN_PURGED {
            pool.share(number);
        }
        let held = pool.0.lock().expect("nobody panicked").all.len();
        assert!(held <= MIN_PURGED, "{held}");
        assert!(Arc::ptr_eq(&used, &pool.share(0)));
    }
}
