//! Points in time, as files carry them.

/// Time since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// The rest, 0 to 999 999 999.
    pub nanoseconds: u32,
}

/// What utimensat(2) wants of one of the two times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// `UTIME_OMIT`: leave it.
    Keep,
    /// `UTIME_NOW`, or no times given.
    Now,
    /// This time.
    To(Timespec),
}

impl SetTime {
    /// The nanoseconds that mean [`SetTime::Now`].
    pub const UTIME_NOW: i64 = 0x3fff_ffff;
    /// The nanoseconds that mean [`SetTime::Keep`].
    pub const UTIME_OMIT: i64 = 0x3fff_fffe;

    /// Reads a `struct timespec` as utimensat(2) takes it.
    ///
    /// # Errors
    ///
    /// [`Errno::INVAL`](crate::Errno::INVAL) for nanoseconds that are neither special nor below a second.
    pub fn from_timespec(seconds: i64, nanoseconds: i64) -> Result<Self, crate::Errno> {
        match nanoseconds {
            Self::UTIME_NOW => Ok(Self::Now),
            Self::UTIME_OMIT => Ok(Self::Keep),
            0..1_000_000_000 => Ok(Self::To(Timespec { seconds, nanoseconds: nanoseconds as u32 })),
            _ => Err(crate::Errno::INVAL),
        }
    }
}
