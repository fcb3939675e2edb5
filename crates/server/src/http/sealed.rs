//! What the endpoints for sealed messages share: a body of one media type, a place while it is worked on, an answer of
//! another.

use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderName, header},
};
use keyward_license::error_code::Problem;

use super::{Public, body, problem::ProblemResponse};
use crate::Server;

/// The media types of a request and of its answer.
pub(super) struct Types {
    pub(super) request: &'static str,
    pub(super) answer: &'static str,
}

/// What an answer says of itself. Nobody keeps one: it is for who asked, and for once.
pub(super) type Said = [(HeaderName, &'static str); 2];

impl Types {
    /// Reads the request, has it worked on in a place, which is free again afterwards, and says what the answer is.
    pub(super) async fn exchange<T>(
        self,
        Public { server, places }: Public,
        request: Request,
        work: impl AsyncFnOnce(&Server, &Bytes) -> Result<T, Problem>,
    ) -> Result<(Said, T), ProblemResponse> {
        let body = body::read(request, self.request, server.config().limits.arrival).await?;
        let _place = places.take()?;
        let answer = work(&server, &body).await?;
        let said = [
            (header::CONTENT_TYPE, self.answer),
            (header::CACHE_CONTROL, "no-store"),
        ];
        Ok((said, answer))
    }
}
