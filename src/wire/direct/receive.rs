//! One read of a socket, with the kernel's own receive stamp where the system has them.
//!
//! Linux can say when the last segment that a read covers came in (`SO_TIMESTAMPNS`), on loopback
//! as on a network card, without any privilege. The safe wrappers at hand drop it, so the call is
//! made here.

#[cfg(not(target_os = "linux"))]
use std::{io, os::fd::BorrowedFd};

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes at the start of the buffer; 0 is the end of the stream.
    pub(super) bytes: usize,
    /// When the kernel had received the last of them, in UTC nanoseconds.
    pub(super) kernel_utc_ns: Option<i64>,
}

#[cfg(target_os = "linux")]
pub(super) use linux::{ask_for_stamps, receive};

#[cfg(target_os = "linux")]
mod linux {
    #![expect(
        unsafe_code,
        reason = "the system calls whose safe wrappers drop the receive stamp"
    )]

    use std::io;
    use std::mem;
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::ptr;

    use super::Received;

    const NS_PER_S: i64 = 1_000_000_000;

    /// Room for one control message with a time in it, aligned as the kernel writes it.
    #[repr(C, align(8))]
    struct Control([u8; 64]);

    /// Asks the kernel to say with each read when it received the bytes; false where it won't.
    pub(in super::super) fn ask_for_stamps(socket: BorrowedFd<'_>) -> bool {
        let on: libc::c_int = 1;
        let Ok(length) = libc::socklen_t::try_from(size_of_val(&on)) else {
            return false;
        };
        // SAFETY: the option's value is one `c_int`, which lives throughout the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
                ptr::from_ref(&on).cast(),
                length,
            )
        };
        result == 0
    }

    /// Reads what is there into `buffer`, without waiting.
    pub(in super::super) fn receive(
        socket: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> io::Result<Received> {
        let mut control = Control([0; 64]);
        let mut part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: all fields of the header are integers and pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = ptr::from_mut(&mut part);
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        // SAFETY: the header points to one part, `buffer`, and to `control`, with their true
        // lengths; both outlive the call and nobody else has them.
        let result = unsafe {
            libc::recvmsg(
                socket.as_raw_fd(),
                ptr::from_mut(&mut message),
                libc::MSG_DONTWAIT,
            )
        };
        let bytes = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
        Ok(Received {
            bytes,
            kernel_utc_ns: stamp(&message),
        })
    }

    /// Finds the receive stamp among a message's control messages.
    fn stamp(message: &libc::msghdr) -> Option<i64> {
        let size = u32::try_from(size_of::<libc::timespec>()).ok()?;
        // SAFETY: the kernel has written whole control messages into the buffer that `message`
        // points to, which is aligned for them, and has set its length accordingly.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(message);
            while let Some(control) = header.as_ref() {
                if control.cmsg_level == libc::SOL_SOCKET
                    && control.cmsg_type == libc::SCM_TIMESTAMPNS
                    && control.cmsg_len == usize::try_from(libc::CMSG_LEN(size)).ok()?
                {
                    let time: libc::timespec = ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                    return Some(time.tv_sec * NS_PER_S + time.tv_nsec);
                }
                header = libc::CMSG_NXTHDR(message, header);
            }
        }
        None
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn ask_for_stamps(_socket: BorrowedFd<'_>) -> bool {
    false
}

/// Reads what is there into `buffer`, without waiting: the socket is non-blocking.
#[cfg(not(target_os = "linux"))]
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let bytes = rustix::io::read(socket, buffer)?;
    Ok(Received {
        bytes,
        kernel_utc_ns: None,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{self, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;
    use crate::time::clock::utc_now_ns;

    #[test]
    fn a_read_says_when_the_kernel_had_the_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(ask_for_stamps(reader.as_fd()));
        let (mut writer, _) = listener.accept().unwrap();

        let mut buffer = [0; 16];
        let nothing = receive(reader.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

        // The kernel begins to stamp a moment after it was first asked to.
        let stamped = (0..100_000).find_map(|_| {
            let before_ns = utc_now_ns();
            writer.write_all(b"abc").unwrap();
            let received = wait_for(&reader, &mut buffer);
            let after_ns = utc_now_ns();
            assert_eq!(&buffer[..received.bytes], b"abc");
            Some((before_ns, received.kernel_utc_ns?, after_ns))
        });
        let (before_ns, kernel_ns, after_ns) = stamped.unwrap();
        // The clock may be set while it is read.
        let tolerance_ns = 1_000_000;
        assert!(kernel_ns > before_ns - tolerance_ns && kernel_ns < after_ns + tolerance_ns);

        drop(writer);
        assert_eq!(wait_for(&reader, &mut buffer).bytes, 0);
    }

    fn wait_for(reader: &TcpStream, buffer: &mut [u8]) -> Received {
        loop {
            match receive(reader.as_fd(), buffer) {
                Ok(received) => return received,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }
}
