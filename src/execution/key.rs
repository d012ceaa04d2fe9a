//! API keys: what they look like, and what whoever has one may see and do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "rg_";
const ID_LENGTH: usize = 12;
/// Hexadecimal digits of 32 random bytes.
const SECRET_LENGTH: usize = 64;

/// The part of a key that may be shown: names it in lists, logs and `rgridd keys revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

impl KeyId {
    /// An id that the database holds.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The id itself, or a whole key, of which the secret part is dropped.
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

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole key, `rg_<id>_<secret>`. Neither Debug nor Display show its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: KeyId,
    secret: String,
}

impl Key {
    /// The bytes must come from the operating system's random source.
    pub fn from_random(id: [u8; 6], secret: [u8; 32]) -> Self {
        Self { id: KeyId(hex::encode(id)), secret: hex::encode(secret) }
    }

    /// None: it has not the form of a key, so nobody need be asked about it.
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

    /// What is stored of it. Without salt or stretching: 32 random bytes cannot be guessed.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }

    /// In a time that says nothing about where they differ.
    pub fn matches(&self, stored: &[u8]) -> bool {
        self.digest().ct_eq(stored).into()
    }

    /// The whole key, for the one time it is shown.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_***", self.id)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_***", self.id)
    }
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look at its own executions, and at what can run.
    Read,
    /// Submit, cancel and retry.
    Run,
    /// Everything, and the executions of all.
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

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "read" => Ok(Scope::Read),
            "run" => Ok(Scope::Run),
            "admin" => Ok(Scope::Admin),
            _ => Err(format!("{text:?} is no scope; there are read, run and admin")),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// None: the server takes requests without keys.
    key: Option<KeyId>,
    scopes: BTreeSet<Scope>,
}

impl Caller {
    /// Whoever reaches a server that asks for no keys.
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

    /// Whose executions it sees; none means all.
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
    fn a_key_reads_back_and_matches_what_is_stored_of_it() {
        let text = key().reveal();
        assert!(text.starts_with("rg_0102030405ff_0707") && text.len() == 3 + 12 + 1 + 64, "{text}");
        let read = Key::parse(&text).unwrap();
        assert!(read.matches(&key().digest()) && read.id() == key().id());
        assert!(!Key::from_random([1, 2, 3, 4, 5, 255], [8; 32]).matches(&key().digest()));
        assert!(!read.matches(&[]));
    }

    #[test]
    fn neither_debug_nor_display_shows_the_secret() {
        for shown in [format!("{:?}", key()), key().to_string()] {
            assert_eq!(shown, "rg_0102030405ff_***");
        }
    }

    #[test]
    fn what_is_no_key_is_known_without_asking() {
        let good = key().reveal();
        let upper = good.to_uppercase();
        for bad in
            ["", "rg_", "rg__", "rg_x_y", &good[3..], &good[..good.len() - 1], &format!("{good}0"), &upper]
        {
            assert!(Key::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_found_in_a_whole_key_too() {
        assert_eq!(KeyId::parse(&key().reveal()).as_ref(), Some(key().id()));
        assert_eq!(KeyId::parse("0102030405ff").as_ref(), Some(key().id()));
        assert_eq!(KeyId::parse("0102"), None);
    }

    #[test]
    fn only_admin_sees_what_others_submitted() {
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
