//! What goes wrong on purpose, by chance from a seed or because a test says so. Pure. Next: `api` and `deliver`, which ask
//! here before they act.

use rand::Rng as _;
use rand::rngs::StdRng;

/// How the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// At once, as documented.
    Up,
    /// 503, and nothing was done.
    Down,
    /// It does what it was asked and answers 502: the caller does not know.
    LosesAnswers,
    /// It does what it was asked and answers so much later.
    Slow {
        /// How much later.
        ms: u64,
    },
}

/// What goes wrong by chance, each in so many of a thousand times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// An event that was taken is delivered again.
    pub duplicate_per_mille: u16,
    /// An event waits up to so long before it is delivered, each by itself: they overtake one another.
    pub delay_max_ms: u64,
    /// A call is answered 503 and not acted on.
    pub api_down_per_mille: u16,
    /// A call is acted on and answered 502.
    pub answer_lost_per_mille: u16,
    /// A call is acted on and answered late.
    pub answer_slow_per_mille: u16,
    /// How late that is.
    pub slow_ms: u64,
}

impl Faults {
    /// How the next call is answered.
    pub(super) fn of_call(&self, rng: &mut StdRng) -> Api {
        let mut drawn = rng.random_range(0..1_000);
        for (per_mille, api) in [
            (self.api_down_per_mille, Api::Down),
            (self.answer_lost_per_mille, Api::LosesAnswers),
            (self.answer_slow_per_mille, Api::Slow { ms: self.slow_ms }),
        ] {
            if drawn < per_mille {
                return api;
            }
            drawn -= per_mille;
        }
        Api::Up
    }

    /// The waits before each delivery of the next event: one, or two where it is delivered again.
    pub(super) fn of_event(&self, rng: &mut StdRng) -> Vec<u64> {
        let copies = if rng.random_range(0..1_000) < self.duplicate_per_mille { 2 } else { 1 };
        (0..copies).map(|_| rng.random_range(0..=self.delay_max_ms)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_faults_and_as_many_as_were_asked_for() {
        let faults = Faults {
            duplicate_per_mille: 250,
            delay_max_ms: 10,
            api_down_per_mille: 100,
            answer_lost_per_mille: 100,
            answer_slow_per_mille: 100,
            slow_ms: 7,
        };
        let drawn = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let calls: Vec<_> = (0..1_000).map(|_| faults.of_call(&mut rng)).collect();
            let events: Vec<_> = (0..1_000).map(|_| faults.of_event(&mut rng)).collect();
            (calls, events)
        };
        let (calls, events) = drawn(1);
        assert_eq!(drawn(1), (calls.clone(), events.clone()));
        assert_ne!(drawn(2).0, calls);
        for api in [Api::Down, Api::LosesAnswers, Api::Slow { ms: 7 }] {
            let count = calls.iter().filter(|drawn| **drawn == api).count();
            assert!((60..140).contains(&count), "{api:?}: {count}");
        }
        let twice = events.iter().filter(|waits| waits.len() == 2).count();
        assert!((190..310).contains(&twice), "{twice}");
        assert!(events.iter().flatten().all(|wait| *wait <= 10));
    }

    #[test]
    fn without_faults_nothing_goes_wrong() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..100 {
            assert_eq!(Faults::default().of_call(&mut rng), Api::Up);
            assert_eq!(Faults::default().of_event(&mut rng), [0]);
        }
    }
}
