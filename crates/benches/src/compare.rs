//! The comparison: every scheme on the same work, in one process, turn and turn about.
//!
//! A machine that is shared is now fast and now slow, by more than most of what is compared. So the schemes take turns of some
//! milliseconds each, who begins changes from round to round, and a ratio is one of two neighbours in a round;
//! what is reported are medians over the rounds, with quartiles.
//!
//! [`throughput`] counts operations, beside those of threads that share nothing ([`alone`]), [`growth`] times growths over many mms, [`waits`] looks for the longest fork while another
//! CPU grows the kernel, [`memory`] weighs. [`crate::lines`] counts writes to lines that CPUs share, [`crate::model`]
//! says what is to be expected beyond the machine.

pub mod alone;
pub mod growth;
pub mod memory;
pub mod plots;
pub mod report;
pub mod table;
pub mod throughput;
pub mod waits;
pub mod walks;

/// How thorough a run is.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds of throughput, for each kind of work and number of threads; a quarter as many where threads share processors.
    pub rounds: usize,
    /// Milliseconds of each turn in a round: short, so that most turns are over before the host wants the processor for another thread.
    pub turn_ms: u64,
    /// The same where threads share processors: long beside a scheduler's slice.
    pub shared_turn_ms: u64,
    /// Numbers of threads.
    pub threads: &'static [usize],
    /// Numbers of live mms that the kernel grows over.
    pub mms: &'static [u64],
    /// Growths for each number of mms.
    pub growths: u64,
    /// Lives that are traced for their writes to shared lines, for each scheme and CPU.
    pub traced: u64,
}

impl Plan {
    /// Some minutes.
    pub const FULL: Self = Self {
        rounds: 60,
        turn_ms: 4,
        shared_turn_ms: 24,
        threads: &[1, 2, 4, 8, 16],
        mms: &[100, 1_000, 10_000, 100_000],
        growths: 40,
        traced: 20,
    };

    /// Half a minute, to see that everything runs. The figures are rough.
    pub const QUICK: Self = Self {
        rounds: 9,
        turn_ms: 3,
        shared_turn_ms: 12,
        threads: &[1, 2, 4],
        mms: &[100, 10_000],
        growths: 10,
        traced: 4,
    };
}
