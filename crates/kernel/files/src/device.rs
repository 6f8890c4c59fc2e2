//! The devices that are nothing but software: null, zero, full, random.

use crate::stream::Stream;
use crate::{DeviceNumber, Errno, FileType, OpenFlags, WaitQueue};
use alloc::boxed::Box;

/// `/dev/tty`: the caller's controlling terminal.
pub(crate) const TTY: DeviceNumber = DeviceNumber { major: 5, minor: 0 };
/// `/dev/console`.
pub(crate) const CONSOLE: DeviceNumber = DeviceNumber { major: 5, minor: 1 };
/// `/dev/ttyS0`.
pub(crate) const SERIAL: DeviceNumber = DeviceNumber { major: 4, minor: 64 };

/// Major number of the devices here.
const MEMORY: u32 = 1;

/// A device, with what it needs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Device {
    /// Reads nothing, takes everything. Also stands for `/dev/kmsg`, whose messages go nowhere.
    Null,
    /// Reads zeros, takes everything.
    Zero,
    /// Reads zeros, takes nothing.
    Full,
    /// Reads random bytes, takes everything.
    Random(fn(&mut [u8])),
}

impl Device {
    /// Returns the device behind a node of this number, if it is here.
    pub(crate) fn from_number(number: DeviceNumber, random: fn(&mut [u8])) -> Option<Self> {
        if number.major != MEMORY {
            return None;
        }
        Some(match number.minor {
            3 | 11 => Self::Null,
            5 => Self::Zero,
            7 => Self::Full,
            8 | 9 => Self::Random(random),
            _ => return None,
        })
    }
}

impl<Q: WaitQueue> Stream<Q> for Device {
    fn kind(&self) -> FileType {
        FileType::Character
    }

    fn label(&self) -> &'static str {
        "device"
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Null => return Ok(0),
            Self::Zero | Self::Full => buffer.fill(0),
            Self::Random(random) => random(buffer),
        }
        Ok(buffer.len())
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Full if !bytes.is_empty() => Err(Errno::NOSPC),
            _ => Ok(bytes.len()),
        }
    }

    fn ignores_offsets(&self) -> bool {
        true
    }

    fn reopen(&self, _flags: OpenFlags) -> Result<Box<dyn Stream<Q>>, Errno> {
        Ok(Box::new(*self))
    }
}
