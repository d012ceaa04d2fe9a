//! A private image registry with one image, which contains this host's shell and has two tags.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::serving::{Content, serve};
use crate::support::try_docker;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub struct Registry {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
    pulls: AtomicUsize,
}

impl Registry {
    /// Docker accepts registries on localhost without TLS.
    pub fn new() -> Self {
        let layer = shell();
        // The creation time makes the image unique to this test.
        let now = chrono::Utc::now().to_rfc3339();
        let config = json!({ "architecture": "amd64", "os": "linux", "created": now, "config": {},
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] } });
        let config = config.to_string().into_bytes();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &layer)] });
        let manifest = manifest.to_string().into_bytes();
        let shared = Arc::new(Shared { manifest, config, layer, pulls: AtomicUsize::new(0) });
        let served = Arc::clone(&shared);
        let port = serve("127.0.0.1", move |path| served.content(path));
        Self { port, shared }
    }

    /// The reference to pull.
    pub fn image(&self) -> String {
        format!("{}:1", self.repository())
    }

    /// The reference without a tag.
    pub fn repository(&self) -> String {
        format!("127.0.0.1:{}/rgrid-test/shell", self.port)
    }

    /// The digest of the image.
    pub fn image_id(&self) -> String {
        digest(&self.shared.config)
    }

    /// Number of downloads of the image's layer.
    pub fn pulls(&self) -> usize {
        self.shared.pulls.load(Ordering::SeqCst)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Ignores errors, because most tests have removed it.
        drop(try_docker(&["rmi", "--force", &self.image_id()]));
    }
}

impl Shared {
    fn content(&self, path: &str) -> Content {
        if path == "/v2/" {
            return Some(("application/json", b"{}".to_vec()));
        }
        let of = path.strip_prefix("/v2/rgrid-test/shell/")?;
        if of.starts_with("tags/list") {
            let tags = json!({ "name": "rgrid-test/shell", "tags": ["1", "latest"] });
            return Some(("application/json", tags.to_string().into_bytes()));
        }
        if ["manifests/1", "manifests/latest"].contains(&of)
            || of == format!("manifests/{}", digest(&self.manifest))
        {
            return Some((MANIFEST, self.manifest.clone()));
        }
        let wanted = of.strip_prefix("blobs/")?;
        if wanted == digest(&self.layer) {
            self.pulls.fetch_add(1, Ordering::SeqCst);
        }
        let blob = [&self.config, &self.layer].into_iter().find(|blob| wanted == digest(blob))?;
        Some(("application/octet-stream", blob.clone()))
    }
}

/// A tar archive of `/bin/sh` and its libraries.
fn shell() -> Vec<u8> {
    let loaded = Command::new("ldd").arg("/bin/sh").output().expect("ldd is part of Debian's libc-bin");
    let loaded = String::from_utf8(loaded.stdout).unwrap();
    let libraries = loaded.split_whitespace().filter_map(|word| word.strip_prefix('/'));
    let archive = Command::new("tar")
        .args(["--create", "--dereference", "--directory=/", "bin/sh"])
        .args(libraries)
        .output()
        .unwrap();
    assert!(archive.status.success(), "{}", String::from_utf8_lossy(&archive.stderr));
    archive.stdout
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({ "mediaType": kind, "size": content.len(), "digest": digest(content) })
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", base16ct::lower::encode_string(&Sha256::digest(content)))
}
