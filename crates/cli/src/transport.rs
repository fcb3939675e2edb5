//! HTTP for the client component and for packagers: no redirects, bounded answers, TLS with the platform's trust store.
//! Who is told to come again later does, with the same bytes: the client component says when, for a packager it is
//! seen to here.

use std::{
    io::Read,
    sync::{Arc, OnceLock},
    time::Duration,
};

use getrandom::SysRng;
use keyward_client::flow::{Answer, MAX_ANSWER, Outgoing};
use keyward_client_native::Transport;
use keyward_license::error_code::{ErrorCode, Problem};
use rand_core::{Rng, UnwrapErr};
use ureq::{
    Agent, Body,
    http::{Response, header::RETRY_AFTER},
    tls::{RootCerts, TlsConfig, TlsProvider},
};

/// How long one exchange may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Names a request to the license server and to proxies; they write it into their logs.
const REQUEST_ID: &str = "x-request-id";

/// One id for all requests of this process: it leads to everything that a command asked for.
static ID: OnceLock<String> = OnceLock::new();

/// The id that goes with a request.
fn request_id() -> &'static str {
    ID.get_or_init(|| format!("{:016x}", UnwrapErr(SysRng).next_u64()))
}

/// The id that went with the requests of this process; none if it has sent none.
pub(crate) fn sent_request_id() -> Option<&'static str> {
    ID.get().map(String::as_str)
}

/// How often a request that was told to come again is repeated.
const REPEATS: usize = 3;

/// Longest time that is waited for before a request is repeated. Who is told to come later than that is told so.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Shortest time.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Sends over HTTP.
pub(crate) struct Http {
    agent: Agent,
    wait: Box<dyn FnMut(Duration) + Send>,
    /// After how many seconds the sender of the latest answer says to come again.
    retry_after: Option<u64>,
    /// What it refused with.
    refused: Option<ErrorCode>,
}

impl Http {
    pub(crate) fn new() -> Self {
        Self::waiting(Box::new(std::thread::sleep))
    }

    /// One that lets time pass like this.
    fn waiting(wait: Box<dyn FnMut(Duration) + Send>) -> Self {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            // The core checked where it sends to; a redirect would lead elsewhere.
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        Self {
            agent: config.new_agent(),
            wait,
            retry_after: None,
            refused: None,
        }
    }

    /// One exchange: the answer, and after how many seconds its sender says to come again.
    fn exchange(&self, outgoing: &Outgoing) -> Result<(Answer, Option<u64>), String> {
        let Outgoing { url, .. } = outgoing;
        let sent = match outgoing.content_type {
            Some(content_type) => self
                .agent
                .post(url)
                .content_type(content_type)
                .header(REQUEST_ID, request_id())
                .send(&outgoing.body[..]),
            None => self.agent.get(url).header(REQUEST_ID, request_id()).call(),
        };
        let response = sent.map_err(|error| format!("{url}: {error}"))?;
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let answer = read(response).map_err(|why| format!("{url}{why}"))?;
        Ok((answer, retry_after))
    }
}

impl Http {
    /// Sends, and again if the other side says when to come again.
    pub(crate) fn send_patiently(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        for _ in 0..REPEATS {
            let answer = self.send(outgoing)?;
            let Some(time) = told_to_come_again(&answer, self.retry_after) else {
                return Ok(answer);
            };
            self.wait(time);
        }
        self.send(outgoing)
    }
}

impl Transport for Http {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let (answer, retry_after) = self.exchange(outgoing)?;
        self.retry_after = retry_after;
        self.refused = refused(&answer);
        Ok(answer)
    }

    fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    fn wait(&mut self, time: Duration) {
        let why = self.refused.map_or("nothing", ErrorCode::name);
        let seconds = time.as_secs_f32();
        tracing::warn!("the license server says {why}: asking again in {seconds:.1} seconds");
        (self.wait)(time);
    }
}

/// What an answer refuses with.
fn refused(answer: &Answer) -> Option<ErrorCode> {
    if answer.status == 200 {
        return None;
    }
    ErrorCode::from_number(Problem::decode(&answer.body).ok()?.code)
}

/// Reads an answer up to its bound.
fn read(mut response: Response<Body>) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let limit = MAX_ANSWER as u64;
    response
        .body_mut()
        .as_reader()
        .take(limit + 1)
        .read_to_end(&mut body)
        .map_err(|error| format!(": {error}"))?;
    if body.len() > MAX_ANSWER {
        return Err(format!(" answers with more than {MAX_ANSWER} bytes"));
    }
    Ok(Answer { status, body })
}

/// How long to wait, if a server says to come again: as long as it says, and up to half as long again, so that not all
/// come at once to whom it says the same. Nothing was done for such a request, or what was done is answered again.
fn told_to_come_again(answer: &Answer, retry_after: Option<u64>) -> Option<Duration> {
    if ![429, 503].contains(&answer.status) {
        return None;
    }
    refused(answer).filter(|code| matches!(code, ErrorCode::Busy | ErrorCode::RateLimited))?;
    let told = Duration::from_secs(retry_after?);
    let wait = (told <= LONGEST_WAIT).then(|| told.max(SHORTEST_WAIT))?;
    let more = wait / 2 * (UnwrapErr(SysRng).next_u32() % 1000) / 1000;
    Some(wait.saturating_add(more).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::{TcpListener, TcpStream},
        sync::Mutex,
        thread,
    };

    use keyward_license::discovery::media_type;

    use super::*;

    /// Asks somebody who answers with a head and then with zeros: so many, or until nobody reads them.
    fn ask(head: &str, length: Option<usize>) -> Result<Answer, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let head = head.to_owned();
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert_ne!(stream.read(&mut [0; 4096]).unwrap(), 0);
            stream.write_all(head.as_bytes()).unwrap();
            let (chunk, mut left) = ([0; 1 << 16], length.unwrap_or(usize::MAX));
            while left > 0 {
                let part = left.min(chunk.len());
                if stream.write_all(&chunk[..part]).is_err() {
                    break;
                }
                left -= part;
            }
        });
        let answer = Http::new().send(&Outgoing::get(url));
        answering.join().unwrap();
        answer
    }

    #[test]
    fn an_answer_is_read_up_to_its_bound() {
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        let longest = ask(head, Some(MAX_ANSWER)).unwrap();
        assert_eq!((longest.status, longest.body.len()), (200, MAX_ANSWER));
        let stated = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", usize::MAX);
        for (head, length) in [(head, Some(MAX_ANSWER + 1)), (head, None), (&stated, None)] {
            let refused = ask(head, length).unwrap_err();
            assert!(
                refused.ends_with("answers with more than 8388608 bytes"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_head_is_read_up_to_its_bound() {
        let endless = "HTTP/1.1 200 OK\r\nx-long: ";
        assert!(ask(endless, Some(1 << 24)).is_err());
    }

    /// Reads a request whole: its path and body.
    fn read_request(stream: &TcpStream) -> (String, Vec<u8>) {
        let mut reader = BufReader::new(stream);
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(stated) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = stated.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (first, body)
    }

    /// An answer, as bytes.
    fn answer(status: u16, retry_after: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n").into_bytes();
        if !retry_after.is_empty() {
            bytes.extend(format!("retry-after: {retry_after}\r\n").bytes());
        }
        bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
        bytes.extend(body);
        bytes
    }

    fn problem(code: ErrorCode, retry_after: &str) -> Vec<u8> {
        let problem = Problem::new(code, "why".to_owned());
        answer(code.status(), retry_after, &problem.encode())
    }

    /// What becomes of a request to who gives these answers, one after the other: the status, the waits, and how
    /// many of the answers were asked for.
    fn told(answers: Vec<Vec<u8>>) -> (u16, Vec<Duration>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/license");
        let sent = Outgoing::post(url, media_type::LICENSE_REQUEST, vec![7; 300]);
        let body = sent.body.clone();
        let answering = thread::spawn(move || {
            let mut asked = 0;
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let (first, got) = read_request(&stream);
                if !first.starts_with("POST /license ") {
                    break;
                }
                assert!(got == body, "the request differs");
                asked += 1;
                stream.write_all(&answer).unwrap();
            }
            asked
        });
        let waited = Arc::new(Mutex::new(Vec::new()));
        let waits = Arc::clone(&waited);
        let mut http = Http::waiting(Box::new(move |time| waits.lock().unwrap().push(time)));
        let status = http.send_patiently(&sent).unwrap().status;
        // Whoever still waits for a request gets another.
        if let Ok(mut stream) = TcpStream::connect(address) {
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").ok();
        }
        let asked = answering.join().unwrap();
        let waited = std::mem::take(&mut *waited.lock().unwrap());
        (status, waited, asked)
    }

    #[test]
    fn who_is_told_to_come_again_does_after_that_time_with_the_same_bytes() {
        let good = || answer(200, "", b"a license");
        for (code, retry_after, shortest) in [
            (ErrorCode::Busy, "1", 1),
            (ErrorCode::RateLimited, "0", 1),
            (ErrorCode::RateLimited, "8", 8),
            (ErrorCode::Busy, "30", 30),
        ] {
            let (status, waits, asked) = told(vec![problem(code, retry_after), good()]);
            assert_eq!(
                (status, waits.len(), asked),
                (200, 1, 2),
                "{code:?} {retry_after}"
            );
            let shortest = Duration::from_secs(shortest);
            let longest = shortest.mul_f32(1.5).min(LONGEST_WAIT);
            assert!((shortest..=longest).contains(&waits[0]), "{waits:?}");
        }
        let (status, waits, asked) = told(vec![problem(ErrorCode::Busy, "2"); 6]);
        assert_eq!((status, waits.len(), asked), (503, 3, 4), "not for ever");
    }

    #[test]
    fn nothing_else_is_repeated() {
        let page = b"<html>come back later</html>";
        for first in [
            problem(ErrorCode::Busy, ""),
            problem(ErrorCode::Busy, "31"),
            problem(ErrorCode::RateLimited, "-1"),
            problem(ErrorCode::RateLimited, "99999999999999999999"),
            problem(ErrorCode::RateLimited, "Wed, 21 Oct 2026 07:28:00 GMT"),
            problem(ErrorCode::Internal, "1"),
            problem(ErrorCode::UpstreamTimeout, "1"),
            problem(ErrorCode::NotEntitled, "1"),
            answer(503, "1", page),
            answer(
                429,
                "1",
                &Problem::new(ErrorCode::Malformed, "why".to_owned()).encode(),
            ),
            answer(
                500,
                "1",
                &Problem::new(ErrorCode::Busy, "why".to_owned()).encode(),
            ),
            answer(200, "1", b"a license"),
        ] {
            let shown = String::from_utf8_lossy(&first).into_owned();
            let (_, waits, asked) = told(vec![first, answer(200, "", b"a license")]);
            assert_eq!((waits.len(), asked), (0, 1), "{shown}");
        }
    }
}
