//! What was last used, as much of it as memory allows.

use std::collections::HashMap;

/// Sessions, and rows with a name, that are known at least.
pub(super) const KEPT: usize = 1 << 18;

/// What was last used, by a hash. When there are too many, those are forgotten that were not used
/// since there were too many the last time.
#[derive(Debug)]
pub(super) struct Recent<T> {
    kept: usize,
    young: HashMap<u64, T>,
    old: HashMap<u64, T>,
}

impl<T> Recent<T> {
    pub(super) fn new(kept: usize) -> Self {
        Self {
            kept,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    pub(super) fn find(&mut self, key: u64) -> Option<&mut T> {
        if let Some(found) = self.old.remove(&key) {
            self.insert(key, found);
        }
        self.young.get_mut(&key)
    }

    pub(super) fn insert(&mut self, key: u64, value: T) -> &mut T {
        if self.young.len() >= self.kept && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let entry = self.young.entry(key).insert_entry(value);
        entry.into_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn what_was_not_used_for_long_is_forgotten() {
        let mut recent = Recent::new(2);
        for key in 0..4 {
            recent.insert(key, key);
            assert_eq!(recent.find(0), Some(&mut 0), "it is used all the time");
        }
        assert_eq!(recent.find(1), None);
        assert!(recent.young.len() <= 2 && recent.old.len() <= 2);
    }
}
