//! HMAC-SHA256 (RFC 2104): who has the secret can tell that it was this server who called, and when.

use sha2::{Digest, Sha256};

const BLOCK: usize = 64;

/// Of `TIMESTAMP.BODY`, as `sha256=HEX`.
pub(crate) fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    format!(
        "sha256={}",
        base16ct::lower::encode_string(&hmac(secret.as_bytes(), format!("{timestamp}.{body}").as_bytes()))
    )
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; BLOCK];
    let short = if key.len() > BLOCK { Sha256::digest(key).to_vec() } else { key.to_vec() };
    for (place, byte) in block.iter_mut().zip(short) {
        *place = byte;
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases 2 and 6 of RFC 4231.
    #[test]
    fn the_standards_own_examples_come_out() {
        let hex = |key: &[u8], message: &str| base16ct::lower::encode_string(&hmac(key, message.as_bytes()));
        let second = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(b"Jefe", "what do ya want for nothing?"), second);
        let sixth = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(hex(&[0xaa; 131], "Test Using Larger Than Block-Size Key - Hash Key First"), sixth);
    }
}
