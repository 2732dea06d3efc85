//! TLS on one connection: what it makes of bytes, apart from the socket that they come and go by.
//!
//! A read is stamped before its bytes are decrypted, so that decryption is no part of any latency.

use std::io::{self, BufRead as _, IoSlice, Write as _};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// The client's side of one TLS connection.
#[derive(Debug)]
pub(super) struct Tls {
    session: ClientConnection,
    /// The server has said that it sends no more.
    has_ended: bool,
}

impl Tls {
    pub(super) fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let session = ClientConnection::new(config, name).map_err(invalid)?;
        Ok(Self {
            session,
            has_ended: false,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Says whether the server has said that it sends no more (`close_notify`).
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes in bytes of the handshake.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() && self.accept(&mut rest)? {}
        Ok(())
    }

    /// Takes in bytes from the socket and appends what they say to `plain`; also before an error.
    pub(super) fn decrypt(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let accepted = self.accept(&mut rest);
            let mut reader = self.session.reader();
            // Where nothing is left it says that it would block, or, behind the end, nothing.
            while let Ok(piece) = reader.fill_buf()
                && !self.has_ended
            {
                self.has_ended = piece.is_empty();
                plain.extend_from_slice(piece);
                let count = piece.len();
                reader.consume(count);
            }
            if !accepted? {
                break;
            }
        }
        Ok(())
    }

    /// Takes in as much as there is room for; false where nothing more is wanted.
    fn accept(&mut self, bytes: &mut &[u8]) -> io::Result<bool> {
        let count = self.session.read_tls(bytes)?;
        self.session.process_new_packets().map_err(invalid)?;
        Ok(count > 0)
    }

    /// The error of a socket that ends before the server has said so.
    pub(super) fn cut_off() -> io::Error {
        let message = "the connection ended without TLS's close_notify";
        io::Error::new(io::ErrorKind::UnexpectedEof, message)
    }

    /// Encrypts some of `parts`, which [`send`](Self::send) then sends; returns how many bytes of them.
    pub(super) fn encrypt(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.session.writer().write_vectored(parts)
    }

    /// Sends what is encrypted, by `write`, up to the first error.
    pub(super) fn send(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        struct Writer<F>(F);

        impl<F: FnMut(&[u8]) -> io::Result<usize>> io::Write for Writer<F> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                (self.0)(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        while self.session.wants_write() {
            if self.session.write_tls(&mut Writer(&mut write))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::{ServerConfig, ServerConnection};

    use super::*;
    use crate::wire::Trust;

    /// Both sides of a connection, behind their handshake.
    fn pair() -> (Tls, ServerConnection) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        server.set_buffer_limit(None);
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = Tls::new(Arc::new(Trust::Anyone.config(&[]).unwrap()), name).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            hear(&mut server, &mut client);
            client.take_in(&encrypted(&mut server)).unwrap();
        }
        (client, server)
    }

    /// Gives the server what the client sends.
    fn hear(server: &mut ServerConnection, client: &mut Tls) {
        let mut bytes = Vec::new();
        let taken = client.send(|piece| {
            bytes.extend_from_slice(piece);
            Ok(piece.len())
        });
        taken.unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
    }

    fn encrypted(server: &mut ServerConnection) -> Vec<u8> {
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn says(server: &mut ServerConnection, text: &[u8]) -> Vec<u8> {
        server.writer().write_all(text).unwrap();
        encrypted(server)
    }

    #[test]
    fn bytes_that_come_one_by_one_say_the_same() {
        let (mut client, mut server) = pair();
        let mut plain = Vec::new();
        for byte in says(&mut server, b"data: one\n\n") {
            client.decrypt(&[byte], &mut plain).unwrap();
        }
        assert_eq!(plain, b"data: one\n\n");
        assert!(!client.has_ended());
    }

    #[test]
    fn a_read_of_more_than_a_session_buffers_is_opened_whole() {
        let (mut client, mut server) = pair();
        let text = vec![b'x'; 1 << 20];
        let mut plain = Vec::new();
        client
            .decrypt(&says(&mut server, &text), &mut plain)
            .unwrap();
        assert_eq!(plain, text);
    }

    #[test]
    fn what_came_before_a_broken_record_is_kept() {
        let (mut client, mut server) = pair();
        let mut bytes = says(&mut server, b"first");
        bytes.extend(says(&mut server, b"second"));
        *bytes.last_mut().unwrap() ^= 1;
        let mut plain = Vec::new();
        let error = client.decrypt(&bytes, &mut plain).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(plain, b"first");
    }

    #[test]
    fn a_server_that_says_goodbye_is_heard_behind_its_last_words() {
        let (mut client, mut server) = pair();
        server.writer().write_all(b"last").unwrap();
        server.send_close_notify();
        let mut plain = Vec::new();
        client.decrypt(&encrypted(&mut server), &mut plain).unwrap();
        assert_eq!(plain, b"last");
        assert!(client.has_ended());
    }

    #[test]
    fn a_request_goes_out_in_records_that_the_server_opens() {
        let (mut client, mut server) = pair();
        let parts = [IoSlice::new(b"POST "), IoSlice::new(b"/")];
        assert_eq!(client.encrypt(&parts).unwrap(), 6);
        hear(&mut server, &mut client);
        let mut reader = server.reader();
        assert_eq!(reader.fill_buf().unwrap(), b"POST /");
    }
}
