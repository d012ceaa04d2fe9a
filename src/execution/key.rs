//! API keys and the permissions of their holders.

use std::collections::BTreeSet;
use std::str::FromStr;

use derive_more::{Debug, Display};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "rg_";
const ID_LENGTH: usize = 12;
/// Hexadecimal digits of 32 random bytes.
const SECRET_LENGTH: usize = 64;

/// The public part of a key. It identifies the key in lists, logs and `rgridd keys revoke`.
#[derive(Debug, Display, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

impl KeyId {
    /// For IDs from the database, which are valid.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Accepts the ID or a whole key, whose secret is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix(PREFIX).unwrap_or(text);
        let id = bare.split('_').next().unwrap_or_default();
        let fits = id.len() == ID_LENGTH && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        fits.then(|| Self(id.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A whole key, `rg_<id>_<secret>`. `Debug` and `Display` hide the secret.
#[derive(Debug, Display, Clone, PartialEq, Eq)]
#[debug("{PREFIX}{id}_***")]
#[display("{PREFIX}{id}_***")]
pub struct Key {
    id: KeyId,
    secret: String,
}

impl Key {
    /// The bytes must come from a cryptographic random source.
    pub fn from_random(id: [u8; 6], secret: [u8; 32]) -> Self {
        Self {
            id: KeyId(base16ct::lower::encode_string(&id)),
            secret: base16ct::lower::encode_string(&secret),
        }
    }

    /// `None` if it does not have the form of a key, so that it need not be looked up.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let id = KeyId::parse(id).filter(|known| known.as_str() == id)?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let fits = secret.len() == SECRET_LENGTH && secret.bytes().all(hex);
        fits.then(|| Self { id, secret: secret.to_owned() })
    }

    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The stored digest. It needs no salt or stretching, because 32 random bytes cannot be guessed.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }

    /// Compares in constant time.
    pub fn matches(&self, stored: &[u8]) -> bool {
        self.digest().ct_eq(stored).into()
    }

    /// The whole key. It is shown only once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

/// A permission of a key.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[display("{}", self.as_str())]
pub enum Scope {
    /// Read its own executions and the server's information.
    Read,
    /// Submit, cancel and retry executions.
    Run,
    /// Everything, for the executions of all keys.
    Admin,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Run => "run",
            Scope::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scope = [Scope::Read, Scope::Run, Scope::Admin].into_iter().find(|scope| scope.as_str() == text);
        scope.ok_or_else(|| format!("unknown scope {text:?}: expected read, run or admin"))
    }
}

/// The authenticated sender of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `None` if the server requires no keys.
    key: Option<KeyId>,
    scopes: BTreeSet<Scope>,
}

impl Caller {
    /// Any client of a server that requires no keys.
    pub fn unauthenticated() -> Self {
        Self { key: None, scopes: BTreeSet::from([Scope::Admin]) }
    }

    pub fn with_key(key: KeyId, scopes: BTreeSet<Scope>) -> Self {
        Self { key: Some(key), scopes }
    }

    pub fn key(&self) -> Option<&KeyId> {
        self.key.as_ref()
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// The only key whose executions it may access; `None` means all.
    pub fn restricted_to(&self) -> Option<&KeyId> {
        self.key.as_ref().filter(|_| !self.may(Scope::Admin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_random([1, 2, 3, 4, 5, 255], [7; 32])
    }

    #[test]
    fn a_parsed_key_matches_its_stored_digest() {
        let text = key().reveal();
        assert!(text.starts_with("rg_0102030405ff_0707") && text.len() == 3 + 12 + 1 + 64, "{text}");
        let read = Key::parse(&text).unwrap();
        assert!(read.matches(&key().digest()) && read.id() == key().id());
        assert!(!Key::from_random([1, 2, 3, 4, 5, 255], [8; 32]).matches(&key().digest()));
        assert!(!read.matches(&[]));
    }

    #[test]
    fn debug_and_display_hide_the_secret() {
        for shown in [format!("{:?}", key()), key().to_string()] {
            assert_eq!(shown, "rg_0102030405ff_***");
        }
    }

    #[test]
    fn malformed_keys_are_rejected_without_a_lookup() {
        let good = key().reveal();
        let upper = good.to_uppercase();
        for bad in
            ["", "rg_", "rg__", "rg_x_y", &good[3..], &good[..good.len() - 1], &format!("{good}0"), &upper]
        {
            assert!(Key::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_id_is_parsed_from_a_whole_key() {
        assert_eq!(KeyId::parse(&key().reveal()).as_ref(), Some(key().id()));
        assert_eq!(KeyId::parse("0102030405ff").as_ref(), Some(key().id()));
        assert_eq!(KeyId::parse("0102"), None);
    }

    #[test]
    fn only_an_admin_may_access_executions_of_other_keys() {
        let caller =
            |scopes: &[Scope]| Caller::with_key(key().id().clone(), scopes.iter().copied().collect());
        let user = caller(&[Scope::Read, Scope::Run]);
        assert!(user.may(Scope::Run) && !user.may(Scope::Admin));
        assert_eq!(user.restricted_to(), Some(key().id()));
        let admin = caller(&[Scope::Admin]);
        assert!(admin.may(Scope::Read) && admin.may(Scope::Run));
        assert_eq!((admin.restricted_to(), admin.key()), (None, Some(key().id())));
        assert_eq!(Caller::unauthenticated().restricted_to(), None);
    }
}
