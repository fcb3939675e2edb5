//! Whose request is it? Addresses, behind forwarders or not, and how often each may ask.

use core::sync::atomic::{AtomicBool, Ordering};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName},
};
use keyward_license::error_code::{ErrorCode, Problem};

use crate::{
    config::{Limits, Network},
    rate::Limiter,
};

/// The other end of a connection: stands with each of its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    /// Of a request that came through [`listen`](super::listen::listen).
    pub(crate) fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<Self>();
        // One that has none counts with all others that have none.
        peer.copied().unwrap_or(Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
    }
}

/// What counts as one address: of IPv6 a /64, because who has one address there has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address => address,
        })
    }
}

impl From<Peer> for Source {
    fn from(peer: Peer) -> Self {
        peer.0.into()
    }
}

/// The forwarders, and the rate of addresses.
pub(crate) struct Addresses {
    forwarders: Vec<Network>,
    limiter: Limiter<Source>,
    /// Whether the log said that a forwarder names nobody.
    said_nameless: AtomicBool,
    /// Whether the log said that somebody names others who is no forwarder.
    said_unknown: AtomicBool,
}

impl Addresses {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            forwarders: limits.forwarders.clone(),
            limiter: Limiter::new(limits.address_rate),
            said_nameless: AtomicBool::new(false),
            said_unknown: AtomicBool::new(false),
        }
    }

    /// Counts a request for its address.
    ///
    /// # Errors
    /// `rate-limited`.
    pub(crate) fn admit(&self, request: &Request) -> Result<(), Problem> {
        let (peer, headers) = (Peer::of(request), request.headers());
        let Some(source) = self.source(peer, headers) else {
            let what =
                "a forwarder names nobody in X-Forwarded-For: what it passes on is not told apart by address";
            once(
                &self.said_nameless,
                || tracing::info!(forwarder = %peer.0, "{what}"),
            );
            return Ok(());
        };
        if self.limiter.admit(source) {
            return Ok(());
        }
        if headers.contains_key(FORWARDED_FOR) && !self.is_forwarder(peer.0) {
            let what =
                "who names others in X-Forwarded-For is none of limits.forwarders: all of it counts for one";
            once(&self.said_unknown, || tracing::warn!(peer = %peer.0, "{what}"));
        }
        // A flood must not fill the log: the end of each request stands there as it is.
        tracing::debug!(peer = %peer.0, source = %source.0, "the address asks too often");
        let detail = "this address asks too often".to_owned();
        Err(Problem::new(ErrorCode::RateLimited, detail))
    }

    /// Whose request it is, going back from the peer for as long as forwarders say so. `None` if none of them
    /// names anybody: they would all count as one, and anybody could use that up.
    fn source(&self, Peer(peer): Peer, headers: &HeaderMap) -> Option<Source> {
        if !self.is_forwarder(peer) {
            return Some(peer.into());
        }
        let lines = headers.get_all(FORWARDED_FOR).into_iter().rev();
        let mut named = lines
            // Entry by entry: a client that writes nonsense does not spoil what a forwarder appends to it.
            .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
            // What stands before an entry that cannot be read is nobody's word.
            .map_while(address);
        let named = named.find(|address| !self.is_forwarder(*address));
        named.map(Source::from)
    }

    fn is_forwarder(&self, address: IpAddr) -> bool {
        includes(&self.forwarders, address)
    }
}

/// Whether it is one of the forwarders.
pub(super) fn includes(forwarders: &[Network], address: IpAddr) -> bool {
    forwarders.iter().any(|network| network.contains(address))
}

/// An address of `X-Forwarded-For`; some write the port as well.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = core::str::from_utf8(entry).ok()?.trim();
    let bare = entry
        .strip_prefix('[')
        .and_then(|entry| entry.strip_suffix(']'))
        .unwrap_or(entry);
    let with_port = || entry.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port)
}

fn once(said: &AtomicBool, say: impl FnOnce()) {
    if !said.swap(true, Ordering::Relaxed) {
        say();
    }
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use super::*;

    fn source(peer: &str, lines: &[&str]) -> Option<String> {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        source_of_bytes(peer, &lines)
    }

    fn source_of_bytes(peer: &str, lines: &[&[u8]]) -> Option<String> {
        let forwarders = ["127.0.0.1", "10.0.0.0/8"].map(|text| text.parse().unwrap());
        let addresses = Addresses::new(&Limits {
            forwarders: forwarders.to_vec(),
            ..Limits::default()
        });
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, (*line).try_into().unwrap());
        }
        let source = addresses.source(Peer(peer.parse().unwrap()), &headers);
        source.map(|source| source.0.to_string())
    }

    #[test]
    fn only_forwarders_are_believed_and_only_about_the_one_before_them() {
        let is = |address: &str| Some(address.to_owned());
        assert_eq!(source("192.0.2.1", &[]), is("192.0.2.1"));
        assert_eq!(
            source("192.0.2.1", &["192.0.2.9"]),
            is("192.0.2.1"),
            "no forwarder"
        );
        assert_eq!(source("127.0.0.1", &["192.0.2.9"]), is("192.0.2.9"));
        assert_eq!(
            source("127.0.0.1", &["192.0.2.8, 192.0.2.9"]),
            is("192.0.2.9"),
            "what stands before it is the client's own word"
        );
        assert_eq!(
            source("127.0.0.1", &["192.0.2.8,192.0.2.9 , 10.1.1.1"]),
            is("192.0.2.9")
        );
        assert_eq!(
            source("::ffff:10.1.1.1", &["192.0.2.8", "192.0.2.9", "127.0.0.1"]),
            is("192.0.2.9")
        );
        for nobody in [
            &[][..],
            &[""],
            &["10.0.0.9"],
            &["unknown"],
            &["192.0.2.9, nonsense"],
        ] {
            assert_eq!(source("127.0.0.1", nobody), None, "{nobody:?}");
        }
    }

    #[test]
    fn what_a_client_writes_does_not_hide_what_a_forwarder_appends() {
        for written in [
            &b""[..],
            b"unknown",
            b"\xff",
            b"\xc3",
            "\u{e9}".as_bytes(),
            b"a;b=\"",
            b"\t",
        ] {
            let appended = [written, b", 192.0.2.9"].concat();
            let named = source_of_bytes("127.0.0.1", &[&appended]);
            assert_eq!(named.as_deref(), Some("192.0.2.9"), "{written:?}");
            let named = source_of_bytes("127.0.0.1", &[written, b"192.0.2.9"]);
            assert_eq!(named.as_deref(), Some("192.0.2.9"), "{written:?}");
        }
    }

    #[test]
    fn an_address_is_one_however_it_is_written() {
        for (entry, one) in [
            ("192.0.2.9:4711", "192.0.2.9"),
            ("::ffff:192.0.2.9", "192.0.2.9"),
            ("2001:db8::1:2:3:4", "2001:db8::"),
            ("2001:db8:0:0:ffff::", "2001:db8::"),
            ("[2001:db8::1]", "2001:db8::"),
            ("[2001:db8::1]:4711", "2001:db8::"),
            ("2001:db8:0:1::1", "2001:db8:0:1::"),
        ] {
            assert_eq!(source("127.0.0.1", &[entry]).as_deref(), Some(one), "{entry}");
        }
    }
}
