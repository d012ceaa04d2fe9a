//! Signs webhooks with HMAC-SHA256, so that the receiver can verify their sender and time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The signature of `TIMESTAMP.BODY`, as `sha256=HEX`.
pub(crate) fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    format!("sha256={}", hmac_sha256(secret.as_bytes(), format!("{timestamp}.{body}").as_bytes()))
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    // HMAC accepts keys of any length.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| base16ct::lower::encode_string(&mac.chain_update(message).finalize().into_bytes()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_match_the_examples_of_rfc_4231() {
        let second = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac_sha256(b"Jefe", b"what do ya want for nothing?"), second);
        let sixth = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hmac_sha256(&[0xaa; 131], message), sixth);
    }

    #[test]
    fn the_signature_covers_timestamp_and_body() {
        let base = signature("secret", 1, "{}");
        assert!(base.starts_with("sha256=") && base.len() == 71);
        let others =
            [signature("other", 1, "{}"), signature("secret", 2, "{}"), signature("secret", 1, "[]")];
        assert!(!others.contains(&base));
    }
}
