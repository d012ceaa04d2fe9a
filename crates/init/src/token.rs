//! The word that begins a connection.

use std::fmt;

/// 32 lower-case hexadecimal digits, chosen at random for each container. Known to the daemon and the init
/// alone, so it can't occur by chance or by malice in what a script prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session token is 32 lower-case hexadecimal digits")]
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

    /// The bytes must come from the operating system's random source.
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

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_make_a_token_that_parses() {
        let token = Token::from_random([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(token.as_str(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(Token::parse(token.as_str()), Ok(token));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "00", &"g".repeat(32), &"A".repeat(32), &"0".repeat(33)] {
            assert_eq!(Token::parse(text), Err(TokenError), "{text}");
        }
    }
}
