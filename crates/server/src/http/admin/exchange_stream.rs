//! `POST /exchange-keys/{kid}/stream/{operation}`: a mirror operation on large data, in flat memory.
//!
//! ```text
//!  Content-Type: application/octet-stream             the data, or the stream that a client encrypted
//!  Keyward-Aad: …                                     encrypt, decrypt: additional data, base64url
//!  Keyward-Signature: …                               verify: the signature, base64url
//!      encrypt, decrypt -> application/octet-stream   put out while the body still comes in
//!      sign             -> {"signature": "…"}
//!      verify           -> {"valid": true or false}
//! ```
//! Whoever encrypts or decrypts must read the answer while it sends the body: neither side holds more than some
//! kilobytes. What fails before the first byte is answered with a problem document. What fails later, such as a chunk
//! that does not verify, breaks the answer off: it has no end (RFC 9112 §8), and its receiver must throw away what it
//! has of it.

use core::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, Version, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt;
use hyper::body::Frame;
use keyward_crypto::exchange::Operation;
use keyward_license::{
    error_code::{ErrorCode, Problem},
    ids::Kid,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    exchange_keys::operation,
    json::{encode, parse},
    problem::AdminProblem,
};
use crate::{
    Server,
    http::{body::check_media_type, connections::Connection},
    key_exchange::{Caller, ExchangeStream, StreamOutput, StreamRequest},
};

pub(super) async fn stream(
    State(server): State<Server>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Result<Response, AdminProblem> {
    let malformed = || AdminProblem::new(ErrorCode::Malformed, "the path does not name what it should");
    let Path((kid, name)) = path.map_err(|_| malformed())?;
    let kid: Kid = parse("kid", &kid)?;
    check_media_type(request.headers(), OCTET_STREAM).map_err(AdminProblem::of)?;
    let asked = read_request(operation(&name)?, request.headers())?;
    if request.version() < Version::HTTP_11 {
        // There, an answer that is broken off looks like one that has come to its end.
        let detail = "streams need HTTP/1.1: before it, nobody sees that an answer has no end";
        return Err(AdminProblem::new(ErrorCode::Malformed, detail));
    }
    let stream = server.exchange_stream(&caller, kid, asked).await?;
    let incoming = Incoming {
        connection: request.extensions().get::<Connection>().cloned(),
        arrival: server.config().limits.arrival,
        body: request.into_body(),
    };
    let mut working = Working {
        stream: Some(stream),
        incoming,
    };
    // What fails at once is told in words, which an answer that has begun has no place for.
    match working.next().await? {
        Next::Data(first) => Ok(put_out(first, working)),
        Next::End(output) => Ok(end(output)),
    }
}

/// Reads what the operation needs besides the data.
fn read_request(operation: Operation, headers: &HeaderMap) -> Result<StreamRequest, AdminProblem> {
    let (aad, signature) = (bytes(headers, AAD)?, bytes(headers, SIGNATURE)?);
    let request = match (operation, aad, signature) {
        (Operation::Encrypt, aad, None) => StreamRequest::Encrypt {
            aad: aad.unwrap_or_default(),
        },
        (Operation::Decrypt, aad, None) => StreamRequest::Decrypt {
            aad: aad.unwrap_or_default(),
        },
        (Operation::Sign, None, None) => StreamRequest::Sign,
        (Operation::Verify, None, Some(signature)) => StreamRequest::Verify { signature },
        (Operation::Wrap | Operation::Unwrap, ..) => {
            let detail = format!("`{operation}` takes its data in one call");
            return Err(AdminProblem::new(ErrorCode::Malformed, detail));
        }
        _ => {
            let detail = format!("`{operation}` has not the headers that it should have");
            return Err(AdminProblem::new(ErrorCode::Malformed, detail));
        }
    };
    Ok(request)
}

fn bytes(headers: &HeaderMap, name: &'static str) -> Result<Option<Vec<u8>>, AdminProblem> {
    let decode = |value: &header::HeaderValue| URL_SAFE_NO_PAD.decode(value.as_bytes());
    let decoded = headers.get(name).map(decode).transpose();
    decoded.map_err(|_| AdminProblem::new(ErrorCode::Malformed, format!("`{name}` is not base64url")))
}

const AAD: &str = "keyward-aad";
const SIGNATURE: &str = "keyward-signature";
const OCTET_STREAM: &str = "application/octet-stream";

/// A stream and the body that it is fed from.
struct Working {
    stream: Option<ExchangeStream>,
    incoming: Incoming,
}

enum Next {
    /// To be put out.
    Data(Vec<u8>),
    /// It was put out, or there is a verdict on it.
    End(Ended),
}

/// The end of a stream, with the last bytes that it puts out.
struct Ended(StreamOutput, Vec<u8>);

impl Working {
    /// Feeds the stream until it puts something out, or ends.
    async fn next(&mut self) -> Result<Next, AdminProblem> {
        let mut output = Vec::new();
        while output.is_empty() {
            let Some(stream) = &mut self.stream else {
                return Err(AdminProblem::new(ErrorCode::Malformed, "the stream is over"));
            };
            match self.incoming.piece().await.map_err(AdminProblem::of)? {
                Some(piece) => stream.update(&piece, &mut output).await?,
                None => {
                    let stream = self.stream.take();
                    let done = match stream {
                        Some(stream) => stream.finish(&mut output).await?,
                        None => StreamOutput::Data,
                    };
                    return Ok(Next::End(Ended(done, output)));
                }
            }
        }
        Ok(Next::Data(output))
    }
}

/// The body of a request, as it comes.
struct Incoming {
    connection: Option<Connection>,
    arrival: Duration,
    body: Body,
}

impl Incoming {
    /// The next piece, or none at the end. Each must come in the time that a whole body has elsewhere.
    async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = tokio::time::timeout(self.arrival, self.body.frame()).await;
            // Somebody who may have this done is at work: no stranger takes the place.
            if let Some(connection) = &self.connection {
                connection.heard();
            }
            let cut_off = |detail: &str| Problem::new(ErrorCode::Malformed, detail.to_owned());
            match frame {
                Err(_) => return Err(cut_off("the body did not arrive in time")),
                Ok(Some(Err(_))) => return Err(cut_off("the body was cut off")),
                Ok(None) => return Ok(None),
                // Trailers say nothing here.
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }
}

/// An answer that goes out while the body still comes in.
fn put_out(first: Vec<u8>, mut working: Working) -> Response {
    let (sender, pieces) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let mut next = Ok(Next::Data(first));
        loop {
            let (data, is_last) = match next {
                Ok(Next::Data(data)) => (data, false),
                Ok(Next::End(Ended(_, last))) => (last, true),
                // Whoever receives sees no last piece.
                Err(problem) => return tracing::info!(?problem, "a stream was broken off"),
            };
            // Nobody takes it any more: dropping the stream notes that.
            if sender.send(Piece { data, is_last }).await.is_err() || is_last {
                return;
            }
            next = working.next().await;
        }
    });
    let body = Body::new(Outgoing {
        pieces,
        has_ended: false,
    });
    ([(header::CONTENT_TYPE, OCTET_STREAM)], body).into_response()
}

/// Pieces that wait to leave.
const AHEAD: usize = 2;

fn end(Ended(output, last): Ended) -> Response {
    match output {
        StreamOutput::Data => ([(header::CONTENT_TYPE, OCTET_STREAM)], last).into_response(),
        StreamOutput::Signature(signature) => {
            axum::Json(json!({ "signature": encode(&signature) })).into_response()
        }
        StreamOutput::Verified(verification) => {
            axum::Json(json!({ "valid": verification.is_valid() })).into_response()
        }
    }
}

struct Piece {
    data: Vec<u8>,
    is_last: bool,
}

/// What is put out, piece by piece. It ends well only with a last piece: a sender that is gone before broke off.
struct Outgoing {
    pieces: mpsc::Receiver<Piece>,
    has_ended: bool,
}

/// The answer ends here, and not well.
#[derive(Debug, thiserror::Error)]
#[error("the stream was broken off")]
struct BrokenOff;

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(cx).map(|piece| {
            self.has_ended = piece.as_ref().is_none_or(|piece| piece.is_last);
            let frame = piece.map(|piece| Frame::data(piece.data.into()));
            Some(frame.ok_or(BrokenOff))
        })
    }
}
