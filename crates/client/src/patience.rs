//! Asking again: who is told to come again later does, with the same bytes.
//!
//! Nothing was done for such a request, or what was done is answered again (V-043). What a problem document says is not
//! signed: it decides when the same is asked again, and nothing else.

use keyward_license::{
    discovery::WELL_KNOWN_PATH,
    error_code::{Behaviour, ErrorCode, Problem},
};
use rand_core::{CryptoRng, Rng};

use crate::{
    ClientError,
    flow::{Answer, Io, Outgoing},
};

/// How often a request is repeated.
const REPEATS: u32 = 3;
/// Longest time, in milliseconds, that is waited before a request is repeated. Who is told to come later than that is
/// told so.
const LONGEST_WAIT: u64 = 30_000;
/// Shortest time.
const SHORTEST_WAIT: u64 = 1_000;

/// Why a license server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The application asks for just that.
    Asked,
    /// Something is to be opened, or would stop: whoever does that waits for the answer.
    Needed,
    /// For later: nobody waits for the answer.
    Ahead,
}

/// Sends, and again as long as the other side asks for it. Returns the last answer, and how long it took since
/// the first was sent, in milliseconds of a clock that never steps.
pub(crate) async fn send(
    io: &Io,
    rng: &mut impl CryptoRng,
    outgoing: Outgoing,
    occasion: Occasion,
) -> Result<(Answer, u64), ClientError> {
    // From the first time on: whoever is in between may have had the answer since then.
    let sent = io.moment().monotonic;
    for repeated in 0..=REPEATS {
        let (answer, retry_after) = io.send(outgoing.clone()).await?;
        let round_trip = io.moment().monotonic.saturating_sub(sent);
        let pause = pause(&answer, repeated, retry_after, rng);
        match pause.filter(|_| repeated < REPEATS && occasion != Occasion::Ahead) {
            Some(milliseconds) => io.wait(milliseconds).await?,
            None => return Ok((answer, round_trip)),
        }
    }
    Err(ClientError::HostOutOfStep)
}

/// For how many milliseconds to wait before the same is asked again, if it is: as long as the other side says, or longer
/// each time, and up to half as long again, so that not all come at once to whom it says the same.
fn pause(answer: &Answer, repeated: u32, retry_after: Option<u64>, rng: &mut impl Rng) -> Option<u64> {
    if answer.status == 200 {
        return None;
    }
    let problem = Problem::decode(&answer.body).ok()?;
    let code = ErrorCode::from_number(problem.code).filter(|code| code.status() == answer.status)?;
    if code.behaviour() != Behaviour::Retry {
        return None;
    }
    let told = match retry_after {
        Some(seconds) => seconds.checked_mul(1_000)?,
        None => SHORTEST_WAIT << repeated,
    };
    let wait = (told <= LONGEST_WAIT).then(|| told.max(SHORTEST_WAIT))?;
    let more = wait / 2 * u64::from(rng.next_u32() % 1_000) / 1_000;
    Some(wait.saturating_add(more).min(LONGEST_WAIT))
}

/// Fetches the discovery document of the server at `origin`.
pub(crate) async fn fetch_discovery(
    io: &Io,
    rng: &mut impl CryptoRng,
    origin: &str,
    occasion: Occasion,
) -> Result<Vec<u8>, ClientError> {
    let outgoing = Outgoing::get(format!("{origin}{WELL_KNOWN_PATH}"));
    let (answer, _) = send(io, rng, outgoing, occasion).await?;
    Ok(answer.message()?)
}

/// Posts a sealed request; returns the sealed response and the round trip in milliseconds.
pub(crate) async fn post(
    io: &Io,
    rng: &mut impl CryptoRng,
    (url, content_type, body): (&str, &'static str, Vec<u8>),
    occasion: Occasion,
) -> Result<(Vec<u8>, u64), ClientError> {
    let outgoing = Outgoing::post(url.to_owned(), content_type, body);
    let (answer, round_trip) = send(io, rng, outgoing, occasion).await?;
    Ok((answer.sealed_response()?, round_trip))
}
