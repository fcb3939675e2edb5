//! The token that speaks for the viewer.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{failure::Failure, input};

#[derive(Args)]
pub(crate) struct AuthorizationArgs {
    /// Authorization token that speaks for the viewer. Other users of the machine can read command lines: rather set
    /// the variable, or name a file
    #[arg(
        long = "authorization",
        env = "KEYWARD_AUTHORIZATION",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
    /// File that holds the authorization token; `-` is standard input. It goes before `--authorization`
    #[arg(id = "authorization_file", long = "authorization-file", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl AuthorizationArgs {
    /// Whether the token is read from standard input.
    pub(crate) fn is_on_stdin(&self) -> bool {
        self.file.as_deref() == Some(Path::new("-"))
    }

    /// The token, if one was given.
    pub(crate) fn token(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.file else {
            return Ok(self.token.clone());
        };
        let text = String::from_utf8(input::read(file)?).unwrap_or_default();
        let token = text.trim();
        if token.is_empty() || token.contains(char::is_whitespace) {
            return Err(Failure::new(
                format!("{} holds no authorization token", file.display()),
                "name a file with the token on one line, and nothing else",
            ));
        }
        Ok(Some(token.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(content: &[u8]) -> Result<Option<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, content).unwrap();
        let args = AuthorizationArgs {
            token: Some("of the environment".into()),
            file: Some(file),
        };
        args.token().map_err(|failure| failure.message)
    }

    #[test]
    fn the_token_of_a_file_is_a_line_and_goes_first() {
        assert_eq!(token(b"ey.J.0\n").unwrap().as_deref(), Some("ey.J.0"));
        for content in [&b""[..], b"\n", b"two words", b"two\nlines", b"\xff"] {
            assert!(
                token(content)
                    .unwrap_err()
                    .contains("holds no authorization token")
            );
        }
        let without = AuthorizationArgs {
            token: Some("of the environment".into()),
            file: None,
        };
        assert_eq!(without.token().unwrap().as_deref(), Some("of the environment"));
    }
}
