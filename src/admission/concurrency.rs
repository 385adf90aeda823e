//! The cap: how many requests an account has in flight, and how many it may have.
//!
//! Invariant: a permit that exists is counted, and one that is dropped is not. There is no other way to move the
//! count, so it cannot leak. A refusal changes nothing.

use farebox_domain::ids::ModelId;
use farebox_domain::refusal::Refusal;
use parking_lot::Mutex;
use std::collections::BTreeMap;
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
}

#[derive(Debug, Default, Clone, Copy)]
struct ModelCount {
    in_flight: u32,
    limit: Option<u32>,
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

impl Gate {
    /// Lets a request in, or says which limit it meets. The account's limit counts all models together; a
    /// model's limit holds besides it. `default` is the account's limit where it has none of its own.
    pub fn try_acquire(
        self: &Arc<Self>,
        model: &ModelId,
        default: u32,
    ) -> Result<ConcurrencyPermit, Refusal> {
        let mut counts = self.counts.lock();
        let limit = counts.limit.unwrap_or(default);
        if counts.in_flight >= limit {
            let in_flight = counts.in_flight;
            return Err(Refusal::ConcurrencyLimit {
                in_flight,
                limit,
                scope: "this account".into(),
            });
        }
        let of_model = match counts.models.get_mut(model) {
            Some(of_model) => of_model,
            None => counts.models.entry(model.clone()).or_default(),
        };
        if let Some(limit) = of_model.limit.filter(|&limit| of_model.in_flight >= limit) {
            let in_flight = of_model.in_flight;
            let scope = format!("this account on {model}");
            return Err(Refusal::ConcurrencyLimit {
                in_flight,
                limit,
                scope,
            });
        }
        of_model.in_flight += 1;
        counts.in_flight += 1;
        drop(counts);
        Ok(ConcurrencyPermit {
            gate: Arc::clone(self),
            model: model.clone(),
        })
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
}

/// The right to have one request in flight; given back when it is dropped.
#[derive(Debug)]
pub struct ConcurrencyPermit {
    gate: Arc<Gate>,
    model: ModelId,
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock();
        counts.in_flight -= 1;
        if let Some(of_model) = counts.models.get_mut(&self.model) {
            of_model.in_flight -= 1;
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

    #[test]
    fn a_limit_that_is_raised_lets_the_next_request_in() {
        let gate = Arc::new(Gate::default());
        let model = ModelId::from("m");
        let held: Vec<_> = (0..2).map(|_| gate.try_acquire(&model, 2).unwrap()).collect();
        assert_eq!(limit_of(&gate.try_acquire(&model, 2).unwrap_err()), (2, 2));
        gate.set_limit(None, Some(3));
        let third = gate.try_acquire(&model, 2).unwrap();
        assert_eq!(gate.in_flight(), 3);
        drop((held, third));
        assert_eq!(gate.read(2).in_flight, 0);
    }

    #[test]
    fn a_model_that_refuses_takes_nothing_from_the_account() {
        let gate = Arc::new(Gate::default());
        let (small, large) = (ModelId::from("small"), ModelId::from("large"));
        gate.set_limit(Some(&large), Some(0));
        assert_eq!(limit_of(&gate.try_acquire(&large, 1).unwrap_err()), (0, 0));
        assert!(gate.try_acquire(&small, 1).is_ok());
        assert_eq!(gate.in_flight(), 0);
    }

    proptest! {
        /// Whatever is asked for, given back and changed in between, the count is the number of permits held,
        /// and no limit that stood at the time is passed.
        #[test]
        fn the_count_is_the_number_of_permits(steps in prop::collection::vec((0..4u8, 0..3u32), 0..200)) {
            let gate = Arc::new(Gate::default());
            let models = ["a", "b", "c"].map(ModelId::from);
            let mut held: Vec<ConcurrencyPermit> = Vec::new();
            for (step, number) in steps {
                let model = &models[usize::try_from(number).unwrap()];
                match step {
                    0 | 1 => if let Ok(permit) = gate.try_acquire(model, 5) {
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
