//! Certificates for TLS servers of tests.

use std::path::Path;
use std::process::Command;

/// Creates `ca.crt`, an authority; `server.crt` and `server.key`, its certificate for `localhost`; and `other.crt`, an
/// unrelated authority.
pub fn make_certificates(folder: &Path) {
    let shell = "
        for name in ca other; do
          openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$name -keyout $name.key -out $name.crt
        done
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:localhost' > names
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names \\
          -out server.crt
        chmod 600 server.key";
    let output = Command::new("sh").args(["-ec", shell]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
