//! Who is connected: bounded, with room made by those who never called.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::hub::ConnectionShared;

/// All connections of a listener, by numbers that are not used again.
#[derive(Default)]
pub struct Register(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    next_number: u64,
    connections: HashMap<u64, Entry>,
    /// Those that never called, the oldest first.
    newcomers: BTreeSet<u64>,
    /// Said once, when the last is gone.
    is_over: bool,
}

#[derive(Default)]
struct Entry {
    shared: Option<Arc<ConnectionShared>>,
    task: Option<AbortHandle>,
}

impl Register {
    /// Registers a connection; None where there are `most`, and none of them is a newcomer to make room.
    pub fn admit(&self, most: usize) -> Option<u64> {
        let mut entries = self.lock();
        let mut evicted = None;
        if entries.connections.len() >= most {
            let oldest = entries.newcomers.pop_first()?;
            // Its place is free at once, though its task ends a little later.
            evicted = entries.connections.remove(&oldest);
        }
        entries.next_number += 1;
        let number = entries.next_number;
        entries.connections.insert(number, Entry::default());
        entries.newcomers.insert(number);
        drop(entries);
        if let Some(task) = evicted.and_then(|entry| entry.task) {
            task.abort();
        }
        Some(number)
    }

    /// Knows what to abort; does so at once where the connection has lost its place meanwhile.
    pub fn set_task(&self, number: u64, task: AbortHandle) {
        match self.lock().connections.get_mut(&number) {
            Some(entry) => entry.task = Some(task),
            None => task.abort(),
        }
    }

    pub fn set_shared(&self, shared: &Arc<ConnectionShared>) {
        if let Some(entry) = self.lock().connections.get_mut(&shared.number) {
            entry.shared = Some(shared.clone());
        }
    }

    /// A connection has made its first call, and keeps its place from now on.
    pub fn called(&self, number: u64) {
        self.lock().newcomers.remove(&number);
    }

    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    pub fn connected(&self) -> Vec<Arc<ConnectionShared>> {
        let entries = self.lock();
        let shared = entries.connections.values().filter_map(|entry| entry.shared.clone());
        shared.collect()
    }

    pub fn abort_all(&self) {
        let mut entries = self.lock();
        let tasks: Vec<_> = entries
            .connections
            .values_mut()
            .filter_map(|entry| entry.task.take())
            .collect();
        drop(entries);
        for task in tasks {
            task.abort();
        }
    }

    pub fn remove(&self, number: u64) {
        let mut entries = self.lock();
        entries.newcomers.remove(&number);
        entries.connections.remove(&number);
    }

    /// Whether nobody is connected; true once.
    pub fn is_over(&self) -> bool {
        let mut entries = self.lock();
        let is_over = entries.connections.is_empty() && !entries.is_over;
        entries.is_over |= is_over;
        is_over
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_newcomer_makes_room_and_callers_do_not() {
        let register = Register::default();
        let first = register.admit(2).unwrap();
        let second = register.admit(2).unwrap();
        register.called(first);
        let third = register.admit(2).unwrap();
        assert!(register.lock().connections.contains_key(&first), "it has called");
        assert!(!register.lock().connections.contains_key(&second));
        register.called(third);
        assert!(register.admit(2).is_none());
        register.remove(first);
        assert!(register.admit(2).is_some());
    }
}
