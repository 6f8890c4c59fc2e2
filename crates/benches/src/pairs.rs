//! Two ways of doing one thing, timed turn and turn about.

use std::time::Duration;

use serde::Serialize;

/// Times of two rivals, in pairs that were measured one right after the other.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    /// Nanoseconds per iteration: variant, base.
    pairs: Vec<(f64, f64)>,
}

/// Middle and spread of a set of figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// A quarter of the figures is below.
    pub p25: f64,
    /// Half of the figures is below.
    pub median: f64,
    /// Three quarters of the figures are below.
    pub p75: f64,
}

impl Spread {
    /// Sorts `figures` and reads the quartiles off; `None` when there are none.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let last = figures.len().checked_sub(1)?;
        let at = |quarters: usize| figures[last * quarters / 4];
        Some(Self { p25: at(1), median: at(2), p75: at(3) })
    }
}

impl Pairs {
    /// Takes `turns` turns of `chunk` iterations each and returns the median quotient of them, variant over base.
    ///
    /// Who goes first alternates: the second finds the caches as the first left them.
    ///
    /// # Panics
    ///
    /// When `turns` is zero, or the base takes no time at all.
    pub fn take(
        &mut self,
        turns: u64,
        chunk: u64,
        mut variant: impl FnMut(u64) -> Duration,
        mut base: impl FnMut(u64) -> Duration,
    ) -> f64 {
        let from = self.pairs.len();
        let each = |time: Duration| time.as_nanos() as f64 / chunk as f64;
        for turn in 0..turns {
            let (of_variant, of_base) = if turn % 2 == 0 {
                let of_variant = variant(chunk);
                (of_variant, base(chunk))
            } else {
                let of_base = base(chunk);
                (variant(chunk), of_base)
            };
            assert!(!of_base.is_zero(), "{chunk} iterations of the base took no time");
            self.pairs.push((each(of_variant), each(of_base)));
        }
        let ratios = ratios(&self.pairs[from..]);
        Spread::of(ratios).expect("at least one turn").median
    }

    /// Number of turns taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Tells whether no turn was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Spread of the quotients, variant over base.
    #[must_use]
    pub fn ratio(&self) -> Option<Spread> {
        Spread::of(ratios(&self.pairs))
    }

    /// Spread of the variant's times, in nanoseconds per iteration.
    #[must_use]
    pub fn variant(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(|pair| pair.0).collect())
    }

    /// Spread of the base's times, in nanoseconds per iteration.
    #[must_use]
    pub fn base(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(|pair| pair.1).collect())
    }
}

fn ratios(pairs: &[(f64, f64)]) -> Vec<f64> {
    pairs.iter().map(|(variant, base)| variant / base).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotient_is_of_the_pair_and_not_of_the_medians() {
        // The machine slows down tenfold half-way; the quotient does not notice.
        let mut pairs = Pairs::default();
        let slowdown = std::cell::Cell::new(1);
        for _ in 0..2 {
            let median = pairs.take(
                3,
                10,
                |n| Duration::from_nanos(3 * n * slowdown.get()),
                |n| Duration::from_nanos(4 * n * slowdown.get()),
            );
            assert!((median - 0.75).abs() < 1e-9);
            slowdown.set(10);
        }
        assert_eq!(pairs.len(), 6);
        assert_eq!(pairs.ratio(), Some(Spread { p25: 0.75, median: 0.75, p75: 0.75 }));
        assert_eq!(pairs.variant().map(|time| time.median), Some(3.0));
        assert_eq!(pairs.base().map(|time| time.p75), Some(40.0));
    }

    #[test]
    fn quartiles_of_five() {
        let spread = Spread::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(spread, Some(Spread { p25: 2.0, median: 3.0, p75: 4.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
