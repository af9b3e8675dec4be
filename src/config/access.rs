//! Who may call: tokens and their scopes, and the refusal to listen to the world without them.
//!
//! Tokens come from a file or the environment, never from the command line, where `ps` shows them.

use std::fmt;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::ConfigError;
use crate::cli::TokenArgs;

/// What a token allows. Each scope is its own: an admin token does not submit unless it says so too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Requests and results.
    Submit,
    /// What workers send to the coordinator.
    Worker,
    /// Kill, revive, drain, resume, faults.
    Admin,
}

/// A token. Compared by its hash, so that a comparison takes the same time whatever is sent; never
/// shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    hash: [u8; 32],
}

impl Token {
    /// Wraps a token.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), hash: Sha256::digest(text.as_bytes()).into() }
    }

    /// Whether this is the token. Both sides are hashed first and every byte is looked at, so the
    /// time tells nothing of the token.
    fn matches(&self, other: &Self) -> bool {
        self.hash.iter().zip(other.hash).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The tokens a process knows: those that it accepts, and among them the ones that it sends.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Vec<(Vec<Scope>, Token)>,
}

impl Access {
    /// Most tokens in a file.
    const MAX_TOKENS: usize = 64;
    /// Shortest token: what 128 random bits need in base64.
    const MIN_LEN: usize = 16;
    const ALL: [Scope; 3] = [Scope::Submit, Scope::Worker, Scope::Admin];

    /// Reads the tokens, and refuses to listen beyond loopback without any.
    ///
    /// # Errors
    /// [`ConfigError::OpenToTheWorld`], or what is wrong with the file or a token.
    pub fn load(args: &TokenArgs, file: &TokenArgs, host: IpAddr) -> Result<Self, ConfigError> {
        let mut access = Self::default();
        if let Ok(token) = std::env::var("AIQ_TOKEN") {
            access.add("AIQ_TOKEN", Self::ALL.to_vec(), token.trim())?;
        } else if let Some(path) = args.token_file.as_ref().or(file.token_file.as_ref()) {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            access.read(&text)?;
        }
        let insecure = args.insecure.or(file.insecure).unwrap_or(false);
        if access.tokens.is_empty() && !host.is_loopback() && !insecure {
            return Err(ConfigError::OpenToTheWorld { host });
        }
        Ok(access)
    }

    fn read(&mut self, text: &str) -> Result<(), ConfigError> {
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            match line.split_once(char::is_whitespace) {
                None => self.add("--token-file", Self::ALL.to_vec(), line)?,
                Some((scopes, token)) => {
                    let scopes = scopes.split(',').map(Self::scope).collect::<Result<_, _>>()?;
                    self.add("--token-file", scopes, token.trim())?;
                }
            }
        }
        Ok(())
    }

    fn scope(name: &str) -> Result<Scope, ConfigError> {
        match name {
            "submit" => Ok(Scope::Submit),
            "worker" => Ok(Scope::Worker),
            "admin" => Ok(Scope::Admin),
            _ => Err(ConfigError::BadValue {
                name: "--token-file",
                value: format!("a line with the scope \"{name}\""),
                right: "lines of `SCOPE[,SCOPE] TOKEN`, where SCOPE is submit, worker or admin".to_owned(),
            }),
        }
    }

    fn add(&mut self, name: &'static str, scopes: Vec<Scope>, token: &str) -> Result<(), ConfigError> {
        let clean = token.bytes().all(|b| b.is_ascii_graphic());
        if !clean || token.len() < Self::MIN_LEN || self.tokens.len() >= Self::MAX_TOKENS {
            return Err(ConfigError::BadValue {
                name,
                value: format!("a token of {} bytes (number {})", token.len(), self.tokens.len() + 1),
                right: format!("visible ASCII, at least {} bytes, at most {} tokens", Self::MIN_LEN, Self::MAX_TOKENS),
            });
        }
        self.tokens.push((scopes, Token::new(token)));
        Ok(())
    }

    /// Whether anyone may do anything.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whether a request with this `Authorization` header may do what needs `scope`.
    pub fn allows(&self, authorization: Option<&str>, scope: Scope) -> bool {
        if self.is_open() {
            return true;
        }
        let sent = authorization.and_then(|h| h.strip_prefix("Bearer ")).map(Token::new);
        let Some(sent) = sent else { return false };
        self.tokens.iter().fold(false, |ok, (scopes, token)| ok | (token.matches(&sent) && scopes.contains(&scope)))
    }

    /// The token to send to the other servers of the fleet.
    pub fn own_token(&self) -> Option<&str> {
        self.token_for(&[Scope::Worker])
    }

    /// The token to send where these scopes are wanted: the first that allows the most of them. The
    /// server says what is missing.
    fn token_for(&self, wanted: &[Scope]) -> Option<&str> {
        let covers = |scopes: &[Scope]| wanted.iter().filter(|scope| scopes.contains(scope)).count();
        let best = self.tokens.iter().rev().max_by_key(|(scopes, _)| covers(scopes));
        best.map(|(_, token)| token.text.as_str())
    }

    /// The token that a tool sends for these scopes: from the environment or the file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn for_tool(token_file: Option<&std::path::Path>, wanted: &[Scope]) -> Result<Option<String>, ConfigError> {
        let args = TokenArgs { token_file: token_file.map(Into::into), insecure: Some(true) };
        Ok(Self::load(&args, &TokenArgs::default(), IpAddr::from([127, 0, 0, 1]))?.token_for(wanted).map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(text: &str) -> Result<Access, ConfigError> {
        let mut access = Access::default();
        access.read(text).map(|()| access)
    }

    #[test]
    fn scopes_are_held_apart() {
        let a = access("# fleet\nsubmit aaaaaaaaaaaaaaaa\nadmin,worker bbbbbbbbbbbbbbbb\n").unwrap();
        assert!(a.allows(Some("Bearer aaaaaaaaaaaaaaaa"), Scope::Submit));
        assert!(!a.allows(Some("Bearer aaaaaaaaaaaaaaaa"), Scope::Admin));
        assert!(a.allows(Some("Bearer bbbbbbbbbbbbbbbb"), Scope::Worker));
        assert!(!a.allows(Some("bbbbbbbbbbbbbbbb"), Scope::Admin));
        assert!(!a.allows(None, Scope::Submit));
        assert_eq!(a.own_token(), Some("bbbbbbbbbbbbbbbb"));
    }

    #[test]
    fn the_token_that_is_sent_is_the_one_that_allows_it() {
        let (submit, admin, both) = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc");
        let a = access(&format!("submit {submit}\nadmin {admin}\n")).unwrap();
        assert_eq!(a.token_for(&[Scope::Submit]), Some(submit));
        assert_eq!(a.token_for(&[Scope::Admin]), Some(admin));
        assert_eq!(a.token_for(&[Scope::Submit, Scope::Admin]), Some(submit), "the first of equals");
        let a = access(&format!("submit {submit}\nsubmit,admin {both}\n")).unwrap();
        assert_eq!(a.token_for(&[Scope::Submit, Scope::Admin]), Some(both));
        assert_eq!(Access::default().token_for(&[Scope::Admin]), None);
    }

    #[test]
    fn tokens_are_never_shown() {
        let shown = format!("{:?}", access("admin bbbbbbbbbbbbbbbb").unwrap());
        assert!(!shown.contains("bbbb"), "{shown}");
    }

    #[test]
    fn short_tokens_and_unknown_scopes_are_refused() {
        assert!(access("submit short").is_err());
        assert!(access("root aaaaaaaaaaaaaaaa").unwrap_err().to_string().contains("root"));
    }

    #[test]
    fn the_world_needs_a_token_or_insecure() {
        let world = IpAddr::from([0, 0, 0, 0]);
        let none = TokenArgs::default();
        let insecure = TokenArgs { insecure: Some(true), ..TokenArgs::default() };
        if std::env::var_os("AIQ_TOKEN").is_none() {
            assert!(matches!(Access::load(&none, &none, world), Err(ConfigError::OpenToTheWorld { .. })));
        }
        assert!(Access::load(&insecure, &none, world).is_ok());
    }
}
