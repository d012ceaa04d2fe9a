//! The secret that starts a connection.

use derive_more::Debug;

/// 32 lower-case hexadecimal digits, random for each container. Only the daemon and the init know it, so a script cannot
/// print it, neither by chance nor on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(#[debug("***")] String);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token must be 32 lower-case hexadecimal digits")]
pub struct TokenError;

impl Token {
    pub const LENGTH: usize = 32;

    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == Self::LENGTH && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TokenError)
        }
    }

    /// The bytes must come from the random source of the operating system.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_from_random_bytes_can_be_parsed() {
        let token = Token::from_random([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(token.as_str(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(Token::parse(token.as_str()), Ok(token));
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in ["", "00", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33)] {
            assert_eq!(Token::parse(text), Err(TokenError), "{text}");
        }
    }
}
