//! What a file is ready for, in the bits of poll(2).

use bitflags::bitflags;

bitflags! {
    /// Readiness, with the values of `POLL*` and `EPOLL*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ready: u32 {
        /// A read would not block: there is data, or the end.
        const IN = 0x001;
        /// Urgent data; no file here has any.
        const PRI = 0x002;
        /// A write would not block.
        const OUT = 0x004;
        /// The other end is gone, for a writer. Reported whether asked for or not.
        const ERR = 0x008;
        /// The other end is gone, for a reader. Reported whether asked for or not.
        const HUP = 0x010;
        /// Not an open descriptor. The kernel sets it; no file does.
        const NVAL = 0x020;
        /// As `IN`, for old programs.
        const RDNORM = 0x040;
        /// As `OUT`, for old programs.
        const WRNORM = 0x100;
        /// The peer of a socket writes no more.
        const RDHUP = 0x2000;
    }
}

impl Ready {
    /// Both directions, as files report that never block.
    pub const ALWAYS: Self = Self::IN.union(Self::OUT).union(Self::RDNORM).union(Self::WRNORM);

    /// What poll reports although it was not asked.
    pub const UNASKED: Self = Self::ERR.union(Self::HUP).union(Self::NVAL);

    /// Readiness to read, if `yes`.
    #[must_use]
    pub(crate) const fn readable(yes: bool) -> Self {
        if yes { Self::IN.union(Self::RDNORM) } else { Self::empty() }
    }

    /// Readiness to write, if `yes`.
    #[must_use]
    pub(crate) const fn writable(yes: bool) -> Self {
        if yes { Self::OUT.union(Self::WRNORM) } else { Self::empty() }
    }
}
