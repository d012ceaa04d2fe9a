//! How much disk a volume fills.
//!
//! Only `GET /system/df` tells, and bollard reads its newest form alone (API 1.52), which older engines do not
//! answer with. So this one call is made by hand.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::sandbox::{Docker, DockerError};

/// Docker walks through all its volumes for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// An answer names images, containers and volumes, some hundred bytes each.
const LARGEST_ANSWER: u64 = 64 << 20;
/// The last API whose answer has the form below.
const LAST_MINOR: usize = 51;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    volumes: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    name: String,
    usage_data: Option<UsageData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UsageData {
    size: i64,
}

impl Docker {
    /// In bytes. None: Docker does not tell, or is just telling somebody else (it answers one at a time).
    pub async fn volume_size(&self, volume: &str) -> Result<Option<u64>, DockerError> {
        let asked = tokio::time::timeout(PATIENCE, self.volume_sizes()).await;
        let sizes = asked.unwrap_or_else(|_| Err(self.no_size("no answer")))?;
        Ok(sizes.get(volume).copied())
    }

    async fn volume_sizes(&self) -> Result<HashMap<String, u64>, DockerError> {
        let minor = self.api.client_version().minor_version.min(LAST_MINOR);
        // HTTP/1.0: the answer comes in one piece and ends with the connection.
        let request = format!("GET /v1.{minor}/system/df?type=volume HTTP/1.0\r\nHost: docker\r\n\r\n");
        let answer = match self.address.strip_prefix("unix://") {
            Some(path) => ask(UnixStream::connect(path).await, &request).await,
            None => ask(TcpStream::connect(self.host_and_port()).await, &request).await,
        };
        sizes_in(&answer.map_err(|error| self.no_size(&error.to_string()))?)
            .ok_or_else(|| self.no_size("another answer than expected (it tells sizes to one at a time)"))
    }

    fn host_and_port(&self) -> &str {
        self.address.split_once("://").map_or(&*self.address, |(_, host)| host.trim_end_matches('/'))
    }

    fn no_size(&self, reason: &str) -> DockerError {
        DockerError::Refused { what: "tell the sizes of volumes", reason: reason.to_owned() }
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    connected: std::io::Result<S>,
    request: &str,
) -> std::io::Result<Vec<u8>> {
    let mut stream = connected?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn sizes_in(answer: &[u8]) -> Option<HashMap<String, u64>> {
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let answer: Answer = serde_json::from_slice(answer.get(body..)?).ok()?;
    let size = |volume: Volume| Some((volume.name, u64::try_from(volume.usage_data?.size).ok()?));
    Some(answer.volumes?.into_iter().filter_map(size).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_dockers_answer() {
        let answer =
            b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"LayersSize\":1,\"Volumes\":[\
            {\"Name\":\"a\",\"UsageData\":{\"RefCount\":0,\"Size\":4096}},\
            {\"Name\":\"b\",\"UsageData\":{\"RefCount\":-1,\"Size\":-1}}]}";
        assert_eq!(sizes_in(answer), Some(HashMap::from([("a".to_owned(), 4096)])));
    }

    #[test]
    fn an_error_is_no_answer() {
        assert_eq!(sizes_in(b"HTTP/1.0 500 Internal Server Error\r\n\r\n{\"message\":\"running\"}"), None);
    }
}
