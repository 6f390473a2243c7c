//! A file descriptor that is readable while there is something to take: an event loop in Python waits for it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Raised and lowered from any thread. It never blocks.
#[derive(Debug)]
pub struct Signal {
    read: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
}

impl Signal {
    #[cfg(target_os = "linux")]
    pub fn new() -> io::Result<Self> {
        use rustix::event::{eventfd, EventfdFlags};
        Ok(Signal {
            read: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe()?;
        for end in [&read, &write] {
            rustix::io::ioctl_fionbio(end, true)?;
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        }
        Ok(Signal { read, write })
    }

    pub fn descriptor(&self) -> i32 {
        self.read.as_raw_fd()
    }

    /// A full pipe or counter is raised already, so an error says nothing new.
    pub fn raise(&self) {
        #[cfg(target_os = "linux")]
        let _ = rustix::io::write(&self.read, &1u64.to_ne_bytes());
        #[cfg(not(target_os = "linux"))]
        let _ = rustix::io::write(&self.write, &[1]);
    }

    #[cfg(test)]
    pub fn is_raised(&self) -> bool {
        use rustix::event::{poll, PollFd, PollFlags, Timespec};
        let mut waiting = [PollFd::new(&self.read, PollFlags::IN)];
        poll(&mut waiting, Some(&Timespec::default())).unwrap() == 1
    }

    pub fn lower(&self) {
        let mut buffer = [0u8; 8];
        let _ = rustix::io::read(&self.read, &mut buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_readable_from_raise_to_lower() {
        let signal = Signal::new().unwrap();
        assert!(!signal.is_raised());
        signal.raise();
        signal.raise();
        assert!(signal.is_raised());
        signal.lower();
        assert!(!signal.is_raised());
        signal.lower();
    }
}
