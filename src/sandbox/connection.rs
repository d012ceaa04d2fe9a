//! An attached connection to a container's init.

use std::pin::Pin;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::query_parameters::AttachContainerOptions;
use futures_util::{Stream, StreamExt};
use rgrid_init::{Command, Decoder, FrameError, Message, Received, Token, Violation, check_message, encode};
use thiserror::Error;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::sandbox::Docker;
use crate::sandbox::error::with_timeout;

/// A write that takes longer is stuck: Docker hangs, or the container is frozen.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// Why no message was received.
#[derive(Debug, Error)]
pub(crate) enum ReceiveError {
    /// Another connection may work.
    #[error("{0}")]
    Broken(String),
    #[error(transparent)]
    Violation(#[from] Violation),
}

pub(crate) struct Connection {
    output: Output,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    decoder: Decoder<Message>,
}

impl Connection {
    pub async fn attach(docker: &Docker, container: &str, token: Token) -> Result<Self, String> {
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        let attached = with_timeout(docker.api.attach_container(container, Some(options))).await;
        let AttachContainerResults { output, input } = attached.map_err(|error| error.to_string())?;
        Ok(Self { output, input, decoder: Decoder::new(token) })
    }

    /// Opens the protocol: the token, then `Resume` as the first frame.
    pub async fn open(&mut self, token: &Token, after: u64) -> Result<(), String> {
        self.write(token.as_bytes()).await?;
        self.send(&Command::Resume { after }).await
    }

    pub async fn send(&mut self, command: &Command) -> Result<(), String> {
        let frame = encode(command).map_err(|error| error.to_string())?;
        self.write(&frame).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = async {
            self.input.write_all(bytes).await?;
            self.input.flush().await
        };
        match tokio::time::timeout(WRITE_TIMEOUT, written).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no data was accepted for {}s", WRITE_TIMEOUT.as_secs())),
        }
    }

    /// Cancel-safe. The message is within the limits that apply to every job.
    pub async fn receive(&mut self) -> Result<Message, ReceiveError> {
        loop {
            match self.decoder.next() {
                Ok(Some(Received::Frame(message))) => {
                    check_message(&message)?;
                    return Ok(message);
                }
                Ok(Some(Received::Connected)) => continue,
                Ok(None) => {}
                Err(FrameError::Decode(_)) => return Err(Violation::UNDECODABLE.into()),
                Err(error) => return Err(ReceiveError::Broken(error.to_string())),
            }
            match self.output.next().await {
                Some(Ok(LogOutput::StdOut { message })) => self.decoder.push(&message),
                // The init writes to stderr only if it panics.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(ReceiveError::Broken(error.to_string())),
                None => return Err(ReceiveError::Broken("the stream ended".to_owned())),
            }
        }
    }
}
