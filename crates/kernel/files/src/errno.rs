//! Linux's error numbers, as a type.
//!
//! Every operation of this crate fails with one of these, because a system call can report nothing
//! else. Source: Linux's `asm-generic/errno-base.h` and `errno.h`.

use core::fmt;

/// Why a system call failed. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u16);

/// Makes the constants and the table of names from one list.
macro_rules! errnos {
    ($($name:ident = $number:literal, $linux:literal, $doc:literal;)*) => {
        impl Errno {
            $(#[doc = concat!("`", $linux, "`: ", $doc, ".")] pub const $name: Self = Self($number);)*

            /// Returns the name in Linux's headers; `"E?"` for a number that is not listed here.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($number => $linux,)*
                    _ => "E?",
                }
            }

            /// Returns the meaning in words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self.0 {
                    $($number => $doc,)*
                    _ => "unknown error",
                }
            }
        }

        #[cfg(test)]
        const ALL: &[Errno] = &[$(Errno::$name),*];
    };
}

errnos! {
    PERM = 1, "EPERM", "operation not permitted";
    NOENT = 2, "ENOENT", "no such file or directory";
    SRCH = 3, "ESRCH", "no such process";
    INTR = 4, "EINTR", "interrupted by a signal";
    IO = 5, "EIO", "input or output error";
    NXIO = 6, "ENXIO", "no such device or address";
    TOOBIG = 7, "E2BIG", "argument list too long";
    NOEXEC = 8, "ENOEXEC", "not an executable format that is known";
    BADF = 9, "EBADF", "bad file descriptor";
    CHILD = 10, "ECHILD", "no child processes";
    AGAIN = 11, "EAGAIN", "would block, or try again";
    NOMEM = 12, "ENOMEM", "out of memory";
    ACCES = 13, "EACCES", "permission denied";
    FAULT = 14, "EFAULT", "bad address";
    NOTBLK = 15, "ENOTBLK", "block device required";
    BUSY = 16, "EBUSY", "device or resource busy";
    EXIST = 17, "EEXIST", "file exists";
    XDEV = 18, "EXDEV", "link across file systems";
    NODEV = 19, "ENODEV", "no such device";
    NOTDIR = 20, "ENOTDIR", "not a directory";
    ISDIR = 21, "EISDIR", "is a directory";
    INVAL = 22, "EINVAL", "invalid argument";
    NFILE = 23, "ENFILE", "too many open files in the system";
    MFILE = 24, "EMFILE", "too many open files";
    NOTTY = 25, "ENOTTY", "not a terminal, or a request it does not know";
    TXTBSY = 26, "ETXTBSY", "text file busy";
    FBIG = 27, "EFBIG", "file too large";
    NOSPC = 28, "ENOSPC", "no space left";
    SPIPE = 29, "ESPIPE", "seek in something without offsets";
    ROFS = 30, "EROFS", "read-only file system";
    MLINK = 31, "EMLINK", "too many links";
    PIPE = 32, "EPIPE", "nobody reads from this pipe";
    DOM = 33, "EDOM", "outside the domain of the function";
    RANGE = 34, "ERANGE", "result does not fit";
    DEADLK = 35, "EDEADLK", "would deadlock";
    NAMETOOLONG = 36, "ENAMETOOLONG", "name too long";
    NOLCK = 37, "ENOLCK", "no locks available";
    NOSYS = 38, "ENOSYS", "no such system call";
    NOTEMPTY = 39, "ENOTEMPTY", "directory not empty";
    LOOP = 40, "ELOOP", "too many symbolic links";
    NODATA = 61, "ENODATA", "no such attribute";
    OVERFLOW = 75, "EOVERFLOW", "value does not fit its type";
    NOTSOCK = 88, "ENOTSOCK", "not a socket";
    DESTADDRREQ = 89, "EDESTADDRREQ", "destination address required";
    MSGSIZE = 90, "EMSGSIZE", "message too long";
    PROTOTYPE = 91, "EPROTOTYPE", "wrong type of socket";
    NOPROTOOPT = 92, "ENOPROTOOPT", "no such option of the protocol";
    PROTONOSUPPORT = 93, "EPROTONOSUPPORT", "protocol not supported";
    SOCKTNOSUPPORT = 94, "ESOCKTNOSUPPORT", "type of socket not supported";
    OPNOTSUPP = 95, "EOPNOTSUPP", "operation not supported";
    AFNOSUPPORT = 97, "EAFNOSUPPORT", "address family not supported";
    ADDRINUSE = 98, "EADDRINUSE", "address in use";
    ADDRNOTAVAIL = 99, "EADDRNOTAVAIL", "not an address of this machine";
    NETUNREACH = 101, "ENETUNREACH", "network unreachable";
    CONNABORTED = 103, "ECONNABORTED", "connection aborted";
    CONNRESET = 104, "ECONNRESET", "connection reset by the peer";
    NOBUFS = 105, "ENOBUFS", "no room for it";
    ISCONN = 106, "EISCONN", "connected already";
    NOTCONN = 107, "ENOTCONN", "not connected";
    TOOMANYREFS = 109, "ETOOMANYREFS", "too many descriptors under way";
    TIMEDOUT = 110, "ETIMEDOUT", "timed out";
    CONNREFUSED = 111, "ECONNREFUSED", "nobody accepts connections there";
    ALREADY = 114, "EALREADY", "under way already";
    INPROGRESS = 115, "EINPROGRESS", "under way";
    CANCELED = 125, "ECANCELED", "cancelled";
}

impl Errno {
    /// Returns the number, 1 to 4095.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// Returns what a system call returns in rax: the negated number.
    #[must_use]
    pub const fn to_return(self) -> i64 {
        -(self.0 as i64)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.0, self.meaning())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_linuxs() {
        assert_eq!(Errno::NOENT.number(), 2);
        assert_eq!(Errno::LOOP.to_return(), -40);
        assert_eq!(Errno::PIPE.name(), "EPIPE");
        for pair in ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number(), "{pair:?}");
        }
        // The host's standard library knows the same numbers.
        extern crate std;
        for errno in [Errno::NOENT, Errno::EXIST, Errno::AGAIN, Errno::PIPE, Errno::TIMEDOUT] {
            let kind = std::io::Error::from_raw_os_error(errno.number()).kind();
            assert_ne!(kind, std::io::ErrorKind::Other, "{errno}");
        }
    }
}
