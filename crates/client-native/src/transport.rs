//! How messages get to a license server: the program brings it.

use std::time::Duration;

use keyward_client::flow::{Answer, Outgoing};

/// Carries bytes to a license server and back.
pub trait Transport {
    /// Sends and waits for the answer. Follows no redirects; cuts off answers beyond
    /// [`MAX_ANSWER`](keyward_client::flow::MAX_ANSWER).
    ///
    /// # Errors
    /// A sentence about what went wrong; an answer with any status is not an error.
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String>;

    /// After how many seconds the sender of the latest answer says to come again (`Retry-After`, RFC 9110, 10.2.3);
    /// none if it does not say.
    fn retry_after(&self) -> Option<u64> {
        None
    }

    /// Lets time pass before a request is repeated: the thread sleeps.
    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A transport for hosts without a network.
#[derive(Debug, Clone, Copy)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn send(&mut self, _: &Outgoing) -> Result<Answer, String> {
        Err("this client has no network".to_owned())
    }
}
