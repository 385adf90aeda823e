//! Lists of keys and of accounts, the newest first, which are read a page at a time.

use std::sync::Arc;

/// What is listed.
pub(super) trait Listed {
    /// Its id's type.
    type Id: Ord + Clone;

    /// When it was made, in milliseconds since 1970, and its id: where it stands in a list, for good.
    fn place(&self) -> (u64, &Self::Id);
}

/// All of a list, in 8 bytes for each. What is new is nearly always the newest. What a start reads comes in any order, and is
/// sorted when the list is first looked at.
#[derive(Debug)]
pub(super) struct ByAge<T> {
    list: Vec<Arc<T>>,
    /// How many are in order, the oldest first, and before all others.
    sorted: usize,
}

impl<T> Default for ByAge<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            sorted: 0,
        }
    }
}

impl<T: Listed> ByAge<T> {
    /// Adds one that is not there yet.
    pub(super) fn add(&mut self, one: Arc<T>) {
        let is_newest = self.list.last().is_none_or(|newest| newest.place() < one.place());
        if is_newest && self.sorted == self.list.len() {
            self.sorted += 1;
        }
        self.list.push(one);
    }

    /// Puts it where the one is that has its place, if one has.
    pub(super) fn replace(&mut self, one: &Arc<T>) {
        let at = self.before(one.place());
        if let Some(same) = self.list.get_mut(at).filter(|same| same.place() == one.place()) {
            *same = Arc::clone(one);
        }
    }

    /// Sorts what was added.
    pub(super) fn sort(&mut self) {
        if self.sorted == self.list.len() {
            return;
        }
        // By keys that lie side by side: what they are of lies all over the memory.
        self.list.sort_by_cached_key(|one| {
            let (at_ms, id) = one.place();
            (at_ms, id.clone())
        });
        self.sorted = self.list.len();
    }

    /// How many come before this place.
    fn before(&mut self, place: (u64, &T::Id)) -> usize {
        self.sort();
        self.list.partition_point(|known| known.place() < place)
    }

    /// Each, in any order.
    pub(super) fn each(&self) -> impl Iterator<Item = &Arc<T>> {
        self.list.iter()
    }

    /// At most `most` that come behind `after`, the newest first.
    pub(super) fn newest(&mut self, after: Option<&(u64, T::Id)>, most: usize) -> Vec<Arc<T>> {
        self.sort();
        let end = after.map_or(self.list.len(), |(at_ms, id)| self.before((*at_ms, id)));
        self.list[..end].iter().rev().take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(u64, &'static str, u32);

    impl Listed for One {
        type Id = &'static str;

        fn place(&self) -> (u64, &Self::Id) {
            (self.0, &self.1)
        }
    }

    #[test]
    fn whatever_comes_in_whatever_order_stands_in_its_place_once() {
        let mut list = ByAge::default();
        for one in [One(5, "b", 1), One(5, "a", 1), One(9, "a", 1), One(1, "z", 1)] {
            list.add(Arc::new(one));
        }
        list.replace(&Arc::new(One(5, "b", 2)));
        let mut shown = |after: Option<(u64, &'static str)>, most| -> Vec<_> {
            let page = list.newest(after.as_ref(), most);
            page.iter().map(|one| (one.0, one.1, one.2)).collect()
        };
        let all = [(9, "a", 1), (5, "b", 2), (5, "a", 1), (1, "z", 1)];
        assert_eq!(shown(None, 9), all);
        assert_eq!(shown(None, 1), all[..1]);
        assert_eq!(shown(Some((5, "b")), 9), all[2..]);
        assert_eq!(shown(Some((6, "")), 9), all[1..], "after what is not there");
        assert_eq!(shown(Some((1, "z")), 9), []);
        list.add(Arc::new(One(9, "b", 3)));
        assert_eq!(list.newest(None, 1)[0].2, 3);
        list.replace(&Arc::new(One(9, "b", 4)));
        assert_eq!(list.newest(None, 9).len(), 5);
        assert_eq!(list.newest(None, 1)[0].2, 4);
    }
}
