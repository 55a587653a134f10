//! Values that many objects have in common, each kept once.
//!
//! With thousands of connections, most of what is kept of one says the same as what is kept of another: conditions, what an instance
//! reports, what a spec resolves to. Whether a value is shared shows in nothing but the memory that it takes.

use std::{
    borrow::Borrow,
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// How often at least a value is asked for between two looks for those that nobody uses any more: fewer values are not worth one.
const MIN_ASKED: usize = 64;

/// Values of one type, each once for as long as somebody uses it.
#[derive(Debug)]
pub struct Pool<T: ?Sized>(Mutex<Values<T>>);

#[derive(Debug)]
struct Values<T: ?Sized> {
    all: BTreeSet<Arc<T>>,
    /// How often one may be asked for until those that nobody uses any more are looked for.
    until_purge: usize,
}

// === impl Pool ===

impl<T: Ord + ?Sized> Pool<T> {
    /// Nothing is shared yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Values { all: BTreeSet::new(), until_purge: MIN_ASKED }))
    }

    /// The value that all share who have one like it.
    pub fn share(&self, value: impl Borrow<T> + Into<Arc<T>>) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.purge_if_due();
        if let Some(shared) = values.all.get(value.borrow()) {
            return Arc::clone(shared);
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

// === impl Values ===

impl<T: Ord + ?Sized> Values<T> {
    /// Drops what nobody uses any more, once values were asked for as often as there were some at the last look. So a look costs next to
    /// nothing, there are never more than twice as many as were used, and what an outage has brought here goes as statuses are written
    /// after it.
    fn purge_if_due(&mut self) {
        if self.until_purge > 0 {
            self.until_purge -= 1;
            return;
        }
        self.all.retain(|value| Arc::strong_count(value) > 1);
        self.until_purge = MIN_ASKED.max(self.all.len());
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
        for number in 1..10 * MIN_ASKED {
            pool.share(number);
        }
        assert!(held(&pool) <= MIN_ASKED, "{}", held(&pool));
        assert!(Arc::ptr_eq(&used, &pool.share(0)));
    }

    #[test]
    fn what_nobody_uses_any_more_is_dropped_although_nothing_new_is_shared() {
        const OBJECTS: usize = 10 * MIN_ASKED;
        let pool = Pool::<usize>::new();
        let mut statuses: Vec<_> = (0..OBJECTS).map(|number| pool.share(number)).collect();
        assert_eq!(held(&pool), OBJECTS, "an outage: each says something else");
        for status in &mut statuses {
            *status = pool.share(0);
        }
        let left = held(&pool);
        assert!(left <= OBJECTS / 2, "it is over, and {left} are held");
        // Each status is written again from time to time.
        for _ in &statuses {
            pool.share(0);
        }
        assert_eq!(held(&pool), 1);
    }

    fn held<T: ?Sized>(pool: &Pool<T>) -> usize {
        pool.0.lock().expect("nobody panicked").all.len()
    }
}
