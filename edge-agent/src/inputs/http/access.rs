//! Who may write: those with a token of the token file.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use crate::inputs::InputError;

/// Digests of tokens: how long comparing them takes tells nothing of a token.
pub struct Tokens(Vec<[u8; SHA256_OUTPUT_LEN]>);

impl Tokens {
    /// One token a line; blank lines and those with `#` before them are none.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let failed = |what: &dyn std::fmt::Display| {
            InputError::new(format_args!("token_file: {}: {what}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        let tokens = Self::parse(&text);
        if tokens.0.is_empty() { Err(failed(&"there is no token in it")) } else { Ok(tokens) }
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        Self(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(digest_of).collect())
    }

    /// `Token …` as InfluxDB 2 has it, `Bearer …`, or `Basic …` with the token as the password and any name.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(token);
        given.is_some_and(|token| self.0.contains(&digest_of(&token)))
    }
}

fn token(authorization: &str) -> Option<String> {
    let (scheme, rest) = authorization.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

fn digest_of(token: &str) -> [u8; SHA256_OUTPUT_LEN] {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_in_any_of_three_ways() {
        let tokens = Tokens::parse("# of the workshop\n  secret \n\nother\n");
        let admits = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            tokens.admit(&headers)
        };
        assert!(admits("Token secret") && admits("token other") && admits("Bearer secret"));
        // telegraf:secret
        assert!(admits("Basic dGVsZWdyYWY6c2VjcmV0"));
        for wrong in ["", "secret", "Token", "Token Secret", "Token # of the workshop", "Basic c2VjcmV0"] {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(!tokens.admit(&HeaderMap::new()));
    }

    #[test]
    fn a_file_without_a_token_admits_nobody_and_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let told = Tokens::read(file.path()).err().unwrap().to_string();
        assert!(told.starts_with("token_file: ") && told.ends_with("there is no token in it"), "{told}");
    }
}
