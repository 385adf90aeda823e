//! The cap: how many requests an account has in flight, and how many it may have.
//!
//! Invariant: a permit that exists is counted, and one that is dropped is not. There is no other way to move the
//! count, so it cannot leak. A refusal changes nothing.

use crate::admission::shared::{InFlightOf, PlaceGuard};
use farebox_domain::ids::{KeyId, ModelId};
use farebox_domain::refusal::{Refusal, Whose};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// One account's count and limits. Changing a limit acts on the very next request; nothing in flight is cut.
#[derive(Debug, Default)]
pub struct Gate {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Requests in flight, of all models.
    in_flight: u32,
    /// This account's own limit; `None` follows models.yaml.
    limit: Option<u32>,
    /// Counts and limits by model; a model is here once it was asked for or given a limit.
    models: BTreeMap<ModelId, ModelCount>,
    /// Requests in flight with each key that has any.
    keys: BTreeMap<KeyId, u32>,
}

#[derive(Debug, Default, Clone, Copy)]
struct ModelCount {
    in_flight: u32,
    limit: Option<u32>,
}

/// What a request would take of an account's gate.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The model that it asks for.
    pub model: &'a ModelId,
    /// The key that it comes with.
    pub key: &'a KeyId,
    /// How many requests there may be with that key; `None`: as many as the account may have.
    pub key_limit: Option<u32>,
    /// The account's limit where it has none of its own.
    pub default: u32,
}

/// What an account may have and has in flight.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GateReading {
    /// Requests in flight.
    pub in_flight: u32,
    /// How many there may be.
    pub limit: u32,
    /// Whether the limit is the account's own, and not the default of models.yaml.
    pub limit_is_own: bool,
    /// The same for each model that has requests in flight or a limit of its own.
    pub models: Vec<ModelReading>,
}

/// What an account may have and has in flight for one model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ModelReading {
    /// The model.
    pub model: ModelId,
    /// Requests in flight.
    pub in_flight: u32,
    /// How many there may be, where the model has a limit of its own.
    pub limit: Option<u32>,
}

impl GateReading {
    /// The same with what is in flight over all replicas.
    pub fn over_replicas(mut self, counted: &InFlightOf) -> Self {
        self.in_flight = counted.all;
        for of_model in &mut self.models {
            of_model.in_flight = 0;
        }
        for (model, count) in &counted.models {
            match self.models.iter_mut().find(|of_model| of_model.model == *model) {
                Some(of_model) => of_model.in_flight = *count,
                None => self.models.push(ModelReading {
                    model: model.clone(),
                    in_flight: *count,
                    limit: None,
                }),
            }
        }
        self.models
            .retain(|of_model| of_model.in_flight > 0 || of_model.limit.is_some());
        self.models.sort_by(|a, b| a.model.cmp(&b.model));
        self
    }
}

impl Gate {
    /// Lets a request in, or says which limit it meets. The account's limit counts all models and keys together; a
    /// model's and a key's hold besides it.
    pub fn try_acquire(self: &Arc<Self>, wanted: Wanted<'_>) -> Result<ConcurrencyPermit, Refusal> {
        let mut counts = self.counts.lock();
        counts.refuse_above(wanted)?;
        counts.in_flight += 1;
        match counts.models.get_mut(wanted.model) {
            Some(of_model) => of_model.in_flight += 1,
            None => {
                let first = ModelCount {
                    in_flight: 1,
                    limit: None,
                };
                counts.models.insert(wanted.model.clone(), first);
            }
        }
        match counts.keys.get_mut(wanted.key) {
            Some(of_key) => *of_key += 1,
            None => drop(counts.keys.insert(wanted.key.clone(), 1)),
        }
        drop(counts);
        Ok(ConcurrencyPermit {
            gate: Arc::clone(self),
            model: wanted.model.clone(),
            key: wanted.key.clone(),
            shared: None,
        })
    }

    /// The limits that such a request meets: the account's, the model's and the key's.
    pub fn limits(&self, wanted: Wanted<'_>) -> [Option<u32>; 3] {
        let counts = self.counts.lock();
        let of_model = counts.models.get(wanted.model).and_then(|model| model.limit);
        let account = counts.limit.unwrap_or(wanted.default);
        [Some(account), of_model, wanted.key_limit]
    }

    /// Sets the account's own limit, or one for a model; `None` takes it back.
    pub fn set_limit(&self, model: Option<&ModelId>, limit: Option<u32>) {
        let mut counts = self.counts.lock();
        match model {
            None => counts.limit = limit,
            Some(model) => counts.models.entry(model.clone()).or_default().limit = limit,
        }
    }

    /// Sets every model's limit: those that are not named have none.
    pub fn set_model_limits(&self, limits: BTreeMap<ModelId, u32>) {
        let mut counts = self.counts.lock();
        for count in counts.models.values_mut() {
            count.limit = None;
        }
        for (model, limit) in limits {
            counts.models.entry(model).or_default().limit = Some(limit);
        }
    }

    /// What is in flight and what may be.
    pub fn read(&self, default: u32) -> GateReading {
        let counts = self.counts.lock();
        let reading = |(model, count): (&ModelId, &ModelCount)| ModelReading {
            model: model.clone(),
            in_flight: count.in_flight,
            limit: count.limit,
        };
        let telling = |(_, count): &(&ModelId, &ModelCount)| count.in_flight > 0 || count.limit.is_some();
        GateReading {
            in_flight: counts.in_flight,
            limit: counts.limit.unwrap_or(default),
            limit_is_own: counts.limit.is_some(),
            models: counts.models.iter().filter(telling).map(reading).collect(),
        }
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.counts.lock().in_flight
    }

    /// Requests in flight with this key.
    pub fn in_flight_with(&self, key: &KeyId) -> u32 {
        self.counts.lock().keys.get(key).copied().unwrap_or(0)
    }
}

impl Counts {
    /// The first limit that one more request would pass.
    fn refuse_above(&self, wanted: Wanted<'_>) -> Result<(), Refusal> {
        let of_model = self.models.get(wanted.model).copied().unwrap_or_default();
        let of_key = self.keys.get(wanted.key).copied().unwrap_or(0);
        let account_limit = self.limit.unwrap_or(wanted.default);
        let full = |in_flight: u32, limit: Option<u32>| limit.filter(|&limit| in_flight >= limit);
        let (in_flight, limit, whose) = if let Some(limit) = full(self.in_flight, Some(account_limit)) {
            (self.in_flight, limit, Whose::Account)
        } else if let Some(limit) = full(of_model.in_flight, of_model.limit) {
            (of_model.in_flight, limit, Whose::Model(wanted.model.clone()))
        } else if let Some(limit) = full(of_key, wanted.key_limit) {
            (of_key, limit, Whose::Key(wanted.key.clone()))
        } else {
            return Ok(());
        };
        Err(Refusal::ConcurrencyLimit {
            in_flight,
            limit,
            scope: whose.to_string(),
        })
    }
}

/// The right to have one request in flight; given back when it is dropped.
#[derive(Debug)]
pub struct ConcurrencyPermit {
    gate: Arc<Gate>,
    model: ModelId,
    key: KeyId,
    /// The same over all replicas.
    shared: Option<PlaceGuard>,
}

impl ConcurrencyPermit {
    /// It is counted over all replicas too, for as long.
    pub fn share(&mut self, place: PlaceGuard) {
        self.shared = Some(place);
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock();
        counts.in_flight -= 1;
        if let Some(of_model) = counts.models.get_mut(&self.model) {
            of_model.in_flight -= 1;
        }
        // A key that has none is not remembered: an account may have many keys.
        if let Entry::Occupied(mut of_key) = counts.keys.entry(self.key.clone()) {
            *of_key.get_mut() -= 1;
            if *of_key.get() == 0 {
                of_key.remove();
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit_of(refusal: &Refusal) -> (u32, u32) {
        match refusal {
            Refusal::ConcurrencyLimit { in_flight, limit, .. } => (*in_flight, *limit),
            other => unreachable!("{other:?}"),
        }
    }

    fn wanted<'a>(model: &'a ModelId, key: &'a KeyId, default: u32) -> Wanted<'a> {
        Wanted {
            model,
            key,
            key_limit: None,
            default,
        }
    }

    #[test]
    fn a_limit_that_is_raised_lets_the_next_request_in() {
        let gate = Arc::new(Gate::default());
        let (model, key) = (ModelId::from("m"), KeyId::from("k"));
        let one_more = || gate.try_acquire(wanted(&model, &key, 2));
        let held: Vec<_> = (0..2).map(|_| one_more().unwrap()).collect();
        assert_eq!(limit_of(&one_more().unwrap_err()), (2, 2));
        gate.set_limit(None, Some(3));
        let third = one_more().unwrap();
        assert_eq!(gate.in_flight(), 3);
        drop((held, third));
        assert_eq!(gate.read(2).in_flight, 0);
    }

    #[test]
    fn a_model_that_refuses_takes_nothing_from_the_account() {
        let gate = Arc::new(Gate::default());
        let (small, large) = (ModelId::from("small"), ModelId::from("large"));
        let key = KeyId::from("k");
        gate.set_limit(Some(&large), Some(0));
        let refused = gate.try_acquire(wanted(&large, &key, 1)).unwrap_err();
        assert_eq!(limit_of(&refused), (0, 0));
        assert!(gate.try_acquire(wanted(&small, &key, 1)).is_ok());
        assert_eq!(gate.in_flight(), 0);
    }

    #[test]
    fn a_key_that_is_full_refuses_and_leaves_the_others_their_room() {
        let gate = Arc::new(Gate::default());
        let (model, narrow, wide) = (ModelId::from("m"), KeyId::from("narrow"), KeyId::from("wide"));
        let of_narrow = Wanted {
            key_limit: Some(1),
            ..wanted(&model, &narrow, 2)
        };
        let first = gate.try_acquire(of_narrow).unwrap();
        let refused = gate.try_acquire(of_narrow).unwrap_err();
        assert_eq!(limit_of(&refused), (1, 1));
        assert!(refused.to_string().contains("this key"), "{refused}");
        let other = gate.try_acquire(wanted(&model, &wide, 2)).unwrap();
        drop(first);
        assert_eq!((gate.in_flight_with(&narrow), gate.in_flight_with(&wide)), (0, 1));
        drop(other);
        assert!(gate.counts.lock().keys.is_empty());
    }

    proptest! {
        /// Whatever is asked for, given back and changed in between, the count is the number of permits held,
        /// and no limit that stood at the time is passed.
        #[test]
        fn the_count_is_the_number_of_permits(steps in prop::collection::vec((0..4u8, 0..3u32), 0..200)) {
            let gate = Arc::new(Gate::default());
            let models = ["a", "b", "c"].map(ModelId::from);
            let key = KeyId::from("k");
            let mut held: Vec<ConcurrencyPermit> = Vec::new();
            for (step, number) in steps {
                let model = &models[usize::try_from(number).unwrap()];
                match step {
                    0 | 1 => if let Ok(permit) = gate.try_acquire(wanted(model, &key, 5)) {
                        held.push(permit);
                        prop_assert!(gate.in_flight() <= gate.read(5).limit);
                    },
                    2 => drop(held.pop()),
                    _ => gate.set_limit((number > 0).then_some(model), Some(number * 3)),
                }
                prop_assert_eq!(usize::try_from(gate.in_flight()).unwrap(), held.len());
            }
            drop(held);
            prop_assert!(gate.read(5).models.iter().all(|model| model.in_flight == 0));
        }
    }
}
