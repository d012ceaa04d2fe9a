//! Volumes: mounts, uploads and sizes.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bollard::models::{Mount, MountType};
use bollard::query_parameters::UploadToContainerOptions;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::sandbox::{Docker, DockerError};

/// Docker walks through all volumes to compute their sizes.
const SIZES_TIMEOUT: Duration = Duration::from_secs(60);
/// The answer lists images, containers and volumes with some hundred bytes each.
const SIZES_MAX_BYTES: u64 = 64 << 20;
/// The last API version whose answer has the form that [`volume_sizes`] reads.
const SIZES_MAX_API_MINOR: usize = 51;

/// What a container may do with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

pub(crate) fn mount(volume: &str, target: &str, access: Access) -> Mount {
    Mount {
        target: Some(target.to_owned()),
        source: Some(volume.to_owned()),
        typ: Some(MountType::VOLUME),
        read_only: Some(access == Access::ReadOnly),
        ..Default::default()
    }
}

/// A file, or a directory if `content` is `None`.
pub(crate) struct Entry<'a> {
    pub name: &'a str,
    /// UID and GID.
    pub owner: u32,
    pub content: Option<&'a [u8]>,
}

impl Docker {
    /// Unpacks the entries into `folder` of a container, which need not run.
    pub(crate) async fn upload(
        &self,
        container: &str,
        folder: &str,
        entries: &[Entry<'_>],
    ) -> Result<(), DockerError> {
        let archive = archive(entries).map_err(|error| DockerError::Refused {
            action: "receive an archive",
            reason: error.to_string(),
        })?;
        let options = UploadToContainerOptions { path: folder.to_owned(), ..Default::default() };
        let body = bollard::body_full(archive.into());
        self.call("fill a volume", self.api.upload_to_container(container, Some(options), body)).await
    }

    /// The size of a volume in bytes; `None` if Docker does not report it.
    ///
    /// Only `GET /system/df` reports sizes. bollard supports only its newest form (API 1.52), which older engines do
    /// not have, so this request is written by hand. Docker answers one such request at a time and fails the others.
    pub async fn volume_size(&self, volume: &str) -> Result<Option<u64>, DockerError> {
        let failed = |reason: &str| DockerError::Refused {
            action: "report the sizes of volumes",
            reason: reason.to_owned(),
        };
        let minor = self.api.client_version().minor_version.min(SIZES_MAX_API_MINOR);
        // With HTTP/1.0 the body is not chunked and ends with the connection.
        let request = format!("GET /v1.{minor}/system/df?type=volume HTTP/1.0\r\nHost: docker\r\n\r\n");
        let answer = async {
            match self.address.strip_prefix("unix://") {
                Some(path) => exchange(UnixStream::connect(path).await?, &request).await,
                None => {
                    let host = self.address.split_once("://").map_or(&*self.address, |(_, host)| host);
                    exchange(TcpStream::connect(host.trim_end_matches('/')).await?, &request).await
                }
            }
        };
        let answer = tokio::time::timeout(SIZES_TIMEOUT, answer).await.map_err(|_| failed("no answer"))?;
        let answer = answer.map_err(|error| failed(&error.to_string()))?;
        let sizes = volume_sizes(&answer)
            .ok_or_else(|| failed("unexpected answer; another request may be in progress"))?;
        Ok(sizes.get(volume).copied())
    }
}

fn archive(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for Entry { name, owner, content } in entries {
        let mut header = tar::Header::new_ustar();
        let is_file = content.is_some();
        header.set_entry_type(if is_file { tar::EntryType::Regular } else { tar::EntryType::Directory });
        header.set_mode(0o755);
        header.set_uid((*owner).into());
        header.set_gid((*owner).into());
        header.set_mtime(0);
        let content = content.unwrap_or_default();
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content)?;
    }
    archive.into_inner()
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(SIZES_MAX_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn volume_sizes(answer: &[u8]) -> Option<HashMap<String, u64>> {
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let usage: Value = serde_json::from_slice(answer.get(body..)?).ok()?;
    // Docker reports an unknown size as -1.
    let size = |volume: &Value| volume.pointer("/UsageData/Size")?.as_u64();
    let sized = |volume: &Value| Some((volume.get("Name")?.as_str()?.to_owned(), size(volume)?));
    Some(usage.get("Volumes")?.as_array()?.iter().filter_map(sized).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_and_unknown_sizes_are_left_out() {
        let answer =
            b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"LayersSize\":1,\"Volumes\":[\
            {\"Name\":\"a\",\"UsageData\":{\"RefCount\":0,\"Size\":4096}},\
            {\"Name\":\"b\",\"UsageData\":{\"RefCount\":-1,\"Size\":-1}}]}";
        assert_eq!(volume_sizes(answer), Some(HashMap::from([("a".to_owned(), 4096)])));
    }

    #[test]
    fn an_error_response_contains_no_sizes() {
        let answer = b"HTTP/1.0 500 Internal Server Error\r\n\r\n{\"message\":\"running\"}";
        assert_eq!(volume_sizes(answer), None);
    }

    #[test]
    fn an_archive_contains_files_and_directories_with_their_owner() {
        let file = Entry { name: "init", owner: 0, content: Some(b"program") };
        let folder = Entry { name: "python", owner: 1000, content: None };
        let bytes = archive(&[file, folder]).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let header = entry.unwrap().header().clone();
            let name = header.path().unwrap().display().to_string();
            (name, header.entry_type(), header.uid().unwrap(), header.size().unwrap())
        });
        let expected = [
            ("init".to_owned(), tar::EntryType::Regular, 0, 7),
            ("python".to_owned(), tar::EntryType::Directory, 1000, 0),
        ];
        assert_eq!(entries.collect::<Vec<_>>(), expected);
    }
}
