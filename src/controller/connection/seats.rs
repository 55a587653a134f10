//! How many checks of one instance may be under way at once: a slow instance holds only its own share of the workers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::refs::InstanceUrl;

/// The seats of all instances.
#[derive(Clone, Debug)]
pub struct Seats {
    most: usize,
    taken: Arc<Mutex<HashMap<InstanceUrl, usize>>>,
}

/// A seat, taken until it is dropped.
#[derive(Debug)]
pub struct Seat {
    instance: InstanceUrl,
    seats: Seats,
}

// === impl Seats ===

impl Seats {
    /// A quarter of so many workers for each instance, and at least one.
    pub fn of(workers: u16) -> Self {
        Self { most: usize::from(workers / 4).max(1), taken: Arc::default() }
    }

    /// Takes a seat, if one is free.
    pub fn take(&self, instance: &InstanceUrl) -> Option<Seat> {
        let mut taken = self.lock();
        let count = taken.entry(instance.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Seat { instance: instance.clone(), seats: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceUrl, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if let Some(count) = taken.get_mut(&self.instance) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.instance);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_takes_no_more_than_its_share() {
        let instance = |host: &str| InstanceUrl::parse(&format!("https://{host}")).expect("valid");
        let seats = Seats::of(8);
        let (first, second) = (seats.take(&instance("a")), seats.take(&instance("a")));
        assert!(first.is_some() && second.is_some());
        assert!(seats.take(&instance("a")).is_none());
        assert!(seats.take(&instance("b")).is_some(), "another instance has its own");
        drop(first);
        assert!(seats.take(&instance("a")).is_some());
        drop(second);
        assert!(seats.lock().is_empty());
        assert!(Seats::of(1).take(&instance("a")).is_some());
    }
}
