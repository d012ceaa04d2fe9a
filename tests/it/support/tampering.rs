//! A proxy between a daemon and Docker that changes what inits send, as a script could that has taken over its init.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use rgrid_init::{Decoder, Message, Received, Token, encode};

/// Returns the messages that are sent instead.
pub type Change = fn(Message) -> Vec<Message>;

pub struct Tampering {
    folder: tempfile::TempDir,
}

impl Tampering {
    pub fn new(change: Change) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let docker = UnixStream::connect(docker_socket()).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), docker.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                thread::spawn(move || {
                    let _ = carry(docker, &client, change);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { folder }
    }

    /// For `docker.host`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }
}

fn docker_socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
}

/// Copies Docker's responses, until one of them is the upgrade of an attach.
fn carry(mut docker: UnixStream, mut client: &UnixStream, change: Change) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = docker.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut received = buffer[..count].to_vec();
        if !received.starts_with(b"HTTP/1.1 101") {
            client.write_all(&received)?;
            continue;
        }
        let end = loop {
            match received.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(position) => break position + 4,
                None => {
                    let count = docker.read(&mut buffer)?;
                    received.extend_from_slice(&buffer[..count]);
                }
            }
        };
        client.write_all(&received[..end])?;
        return carry_attached(received[end..].chain(docker), client, change);
    }
}

/// Docker's frames have a header of 8 bytes: the stream, three zeros, and the length in big endian.
fn carry_attached(mut docker: impl Read, mut client: &UnixStream, change: Change) -> io::Result<()> {
    const STDOUT: u8 = 1;
    let mut token = Vec::new();
    let mut decoder: Option<Decoder<Message>> = None;
    loop {
        let mut header = [0; 8];
        docker.read_exact(&mut header)?;
        let mut content = vec![0; u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize];
        docker.read_exact(&mut content)?;
        if header[0] != STDOUT {
            continue;
        }
        let mut changed = Vec::new();
        if decoder.is_none() {
            let rest = content.split_off((Token::LENGTH - token.len()).min(content.len()));
            changed.extend_from_slice(&content);
            token.append(&mut content);
            if token.len() == Token::LENGTH {
                let mut new = Decoder::new(Token::parse(std::str::from_utf8(&token).unwrap()).unwrap());
                new.push(&token);
                decoder = Some(new);
            }
            content = rest;
        }
        if let Some(decoder) = &mut decoder {
            decoder.push(&content);
            while let Some(received) = decoder.next().unwrap() {
                let Received::Frame(message) = received else { continue };
                changed.extend(change(message).iter().flat_map(|message| encode(message).unwrap()));
            }
        }
        for part in changed.chunks(32 * 1024) {
            let length = u32::try_from(part.len()).unwrap().to_be_bytes();
            client.write_all(&[&[STDOUT, 0, 0, 0][..], &length, part].concat())?;
        }
    }
}
