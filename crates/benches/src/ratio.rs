//! A quotient as something that criterion measures.

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};

/// How long one thing takes, in units of how long another takes at the same time.
///
/// Criterion divides what it gets by the number of iterations, so a bench returns the quotient times
/// that number, from `iter_custom`.
#[derive(Debug, Clone, Copy)]
pub struct Ratio;

impl Measurement for Ratio {
    type Intermediate = ();
    type Value = f64;

    /// # Panics
    ///
    /// Always: a quotient is not measured by looking at one clock before and after.
    fn start(&self) {
        unreachable!("a quotient is measured by `iter_custom` only");
    }

    fn end(&self, (): ()) -> f64 {
        0.0
    }

    fn add(&self, one: &f64, other: &f64) -> f64 {
        one + other
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Times
    }
}

/// Shows a quotient as so many times the base.
struct Times;

impl ValueFormatter for Times {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        "x base"
    }

    fn scale_throughputs(
        &self,
        _typical: f64,
        _throughput: &Throughput,
        _values: &mut [f64],
    ) -> &'static str {
        "x base"
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "ratio"
    }
}
