//! What goes to a license server and what comes back, whoever carries it: HTTP, a proxy, a file.

use crate::{codec::Wire, envelope::SealedResponse, error_code::Problem};

/// Largest answer a host passes on, in bytes.
pub const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Bytes for a license server, over HTTP or any other carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to: an absolute URL that the operator profile permits.
    pub url: String,
    /// Media type of the body; `None` with an empty body means GET.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

impl Outgoing {
    /// A request for what stands at `url`.
    #[must_use]
    pub const fn get(url: String) -> Self {
        Self {
            url,
            content_type: None,
            body: Vec::new(),
        }
    }

    /// A message of `content_type` for `url`.
    #[must_use]
    pub const fn post(url: String, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            url,
            content_type: Some(content_type),
            body,
        }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status, or 200 from a carrier that has none.
    pub status: u16,
    /// The body. Hosts cut off answers beyond [`MAX_ANSWER`] and report that as a failure of theirs.
    pub body: Vec<u8>,
}

/// Why an answer carries no message. Nobody has signed this: it is shown, and decides nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declined {
    /// A problem document.
    Refused(Problem),
    /// Neither an answer nor a problem document.
    NotAnAnswer {
        /// HTTP status.
        status: u16,
    },
}

impl Answer {
    /// The body of an answer with status 200.
    ///
    /// # Errors
    /// [`Declined`].
    pub fn message(self) -> Result<Vec<u8>, Declined> {
        match (self.status, Problem::decode(&self.body)) {
            (200, _) => Ok(self.body),
            (_, Ok(problem)) => Err(Declined::Refused(problem)),
            (status, Err(_)) => Err(Declined::NotAnAnswer { status }),
        }
    }

    /// The body of an answer with status 200 that has the form of a sealed response.
    ///
    /// # Errors
    /// [`Declined`].
    pub fn sealed_response(self) -> Result<Vec<u8>, Declined> {
        let body = self.message()?;
        if SealedResponse::decode(&body).is_ok() {
            Ok(body)
        } else {
            Err(Declined::NotAnAnswer { status: 200 })
        }
    }
}

/// Text that another party wrote, as one line of a message: nothing in it ends the line, moves the cursor,
/// reverses the text or goes on without end.
#[must_use]
pub fn one_line(text: &str) -> impl core::fmt::Display + '_ {
    OneLine(text)
}

struct OneLine<'a>(&'a str);

impl core::fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let separates =
            |c| matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let plain = |c: char| if c.is_control() || separates(c) { ' ' } else { c };
        self.0
            .chars()
            .take(LONGEST_TEXT)
            .try_for_each(|c| core::fmt::Write::write_char(f, plain(c)))
    }
}

/// Longest text of another party in a message, in characters.
const LONGEST_TEXT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::ErrorCode;

    #[test]
    fn an_answer_is_a_message_a_problem_or_neither() {
        let problem = Problem::new(ErrorCode::Busy, "later".into());
        let answer = |status, body: Vec<u8>| Answer { status, body };
        assert_eq!(
            answer(503, problem.encode()).message(),
            Err(Declined::Refused(problem))
        );
        assert_eq!(
            answer(302, Vec::new()).message(),
            Err(Declined::NotAnAnswer { status: 302 })
        );
        assert_eq!(
            answer(200, b"<html>".to_vec()).sealed_response(),
            Err(Declined::NotAnAnswer { status: 200 })
        );
        let sealed = SealedResponse {
            version: 1,
            ciphertext: vec![0; 28].into(),
        };
        assert_eq!(
            answer(200, sealed.encode()).sealed_response(),
            Ok(sealed.encode())
        );
    }
}
