//! Signal numbers and sets, with Linux's values on x86-64.

use core::fmt;

/// A signal, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $number:literal),* $(,)?) => {
        impl Signal {
            $(#[doc = concat!("`SIG", stringify!($name), "`.")] pub const $name: Self = Self($number);)*
        }

        impl fmt::Debug for Signal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($number => f.write_str(concat!("SIG", stringify!($name))),)*
                    number => write!(f, "signal {number}"),
                }
            }
        }
    };
}

signals! {
    HUP = 1, INT = 2, QUIT = 3, ILL = 4, TRAP = 5, ABRT = 6, BUS = 7, FPE = 8, KILL = 9, USR1 = 10,
    SEGV = 11, USR2 = 12, PIPE = 13, ALRM = 14, TERM = 15, STKFLT = 16, CHLD = 17, CONT = 18,
    STOP = 19, TSTP = 20, TTIN = 21, TTOU = 22, URG = 23, XCPU = 24, XFSZ = 25, VTALRM = 26,
    PROF = 27, WINCH = 28, IO = 29, PWR = 30, SYS = 31,
}

impl Signal {
    /// Number of signals.
    pub const COUNT: usize = 64;

    /// Makes a signal of its number; `None` unless it is 1 to 64.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number >= 1 && number <= Self::COUNT as u64 { Some(Self(number as u8)) } else { None }
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the place in an array of all signals.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// Returns what happens to a process that has not said otherwise.
    #[must_use]
    pub const fn default_action(self) -> DefaultAction {
        match self {
            Self::CHLD | Self::URG | Self::WINCH => DefaultAction::Ignore,
            Self::CONT => DefaultAction::Continue,
            Self::STOP | Self::TSTP | Self::TTIN | Self::TTOU => DefaultAction::Stop,
            Self::QUIT
            | Self::ILL
            | Self::TRAP
            | Self::ABRT
            | Self::BUS
            | Self::FPE
            | Self::SEGV
            | Self::SYS
            | Self::XCPU
            | Self::XFSZ => DefaultAction::Core,
            _ => DefaultAction::Terminate,
        }
    }
}

/// What a signal does to a process that neither catches nor ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Nothing.
    Ignore,
    /// The process goes on if it was stopped.
    Continue,
    /// The process stops.
    Stop,
    /// The process ends.
    Terminate,
    /// The process ends, and Linux would write a core file.
    Core,
}

/// A set of signals, as `sigset_t` has them: bit `n - 1` for signal `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// What can be neither blocked, nor caught, nor ignored.
    pub const UNBLOCKABLE: Self = Self::of(Signal::KILL).with(Self::of(Signal::STOP));

    /// Signals that stop a process.
    pub const STOPS: Self = Self::of(Signal::STOP)
        .with(Self::of(Signal::TSTP))
        .with(Self::of(Signal::TTIN))
        .with(Self::of(Signal::TTOU));

    /// Signals that an instruction of the program itself brings about. They are taken first.
    pub const SYNCHRONOUS: Self = Self::of(Signal::SEGV)
        .with(Self::of(Signal::BUS))
        .with(Self::of(Signal::ILL))
        .with(Self::of(Signal::TRAP))
        .with(Self::of(Signal::FPE))
        .with(Self::of(Signal::SYS));

    /// The set of one signal.
    #[must_use]
    pub const fn of(signal: Signal) -> Self {
        Self(1 << signal.index())
    }

    /// Returns what is in either set.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns what is in this set and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns what is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Tells whether `signal` is in the set.
    #[must_use]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    /// Tells whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the signal to take next: a synchronous one, else the one with the lowest number.
    #[must_use]
    pub fn first(self) -> Option<Signal> {
        let synchronous = self.and(Self::SYNCHRONOUS);
        let from = if synchronous.is_empty() { self } else { synchronous };
        Signal::new(u64::from(from.0.trailing_zeros()) + 1)
    }
}
