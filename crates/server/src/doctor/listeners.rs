//! The addresses that the server listens on: free, or this operator's server answers there.

use core::time::Duration;
use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use axum::{
    body::Bytes,
    http::{Request, Response, StatusCode, header},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use keyward_crypto::x509::{Anchor, Role};
use keyward_license::{
    discovery::{Discovery, WELL_KNOWN_PATH},
    signed::Unverified,
};
use tokio::net::TcpListener;

use super::Finding;
use crate::config::Config;

/// Judges both addresses.
pub(super) async fn judge(config: &Config, anchor: &Anchor) -> Vec<Finding> {
    if config.listen == config.admin_listen && config.listen.port() != 0 {
        return vec![Finding::error(
            "listeners",
            format!("listen and admin_listen are both {}", config.listen),
            "give them different ports in operator.toml",
        )];
    }
    let public = match state(config.listen).await {
        State::Taken => judge_public(config.listen, anchor).await,
        other => other.judge("listen", config.listen),
    };
    let admin = match state(config.admin_listen).await {
        State::Taken => judge_admin(config.admin_listen).await,
        other => other.judge("admin_listen", config.admin_listen),
    };
    vec![public, admin]
}

/// What came of listening on an address for a moment.
enum State {
    Free,
    Taken,
    Refused(io::Error),
}

async fn state(address: SocketAddr) -> State {
    match TcpListener::bind(address).await {
        Ok(_) => State::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => State::Taken,
        Err(error) => State::Refused(error),
    }
}

impl State {
    fn judge(self, key: &str, address: SocketAddr) -> Finding {
        match self {
            Self::Refused(error) => {
                let hint = match error.kind() {
                    ErrorKind::AddrNotAvailable => "name an address of this machine in operator.toml",
                    ErrorKind::PermissionDenied => {
                        "name a port from 1024 on, or permit this user to use lower ones"
                    }
                    _ => "check the network of this machine",
                };
                Finding::error(
                    "listeners",
                    format!("cannot listen on {key} {address}: {error}"),
                    hint,
                )
            }
            _ => Finding::good(
                "listeners",
                format!("{key} {address} is free: no server runs there"),
            ),
        }
    }
}

async fn judge_public(address: SocketAddr, anchor: &Anchor) -> Finding {
    let stranger = || {
        Finding::error(
            "listeners",
            format!("listen {address} is taken, and not by this operator's license server"),
            "stop what listens there, or change `listen` in operator.toml",
        )
    };
    let Some(document) = get(address, WELL_KNOWN_PATH).await else {
        return stranger();
    };
    let signed = Unverified::<Discovery>::parse(document.body())
        .and_then(|document| document.verify(anchor, Role::LicenseServer, |body| vec![body.issued]));
    if signed.is_err() {
        return stranger();
    }
    match get(address, "/health/ready").await {
        Some(ready) if ready.status() == StatusCode::OK => Finding::good(
            "listeners",
            format!("this operator's license server answers on {address}, and is ready"),
        ),
        _ => Finding::error(
            "listeners",
            format!("this operator's license server answers on {address}, and is not ready"),
            "read its log; its database takes no writes",
        ),
    }
}

/// Nobody gets in without a token, and that is how the administration interface is known.
async fn judge_admin(address: SocketAddr) -> Finding {
    let answered = get(address, "/policies").await.is_some_and(|answer| {
        let content_type = answer.headers().get(header::CONTENT_TYPE);
        answer.status() == StatusCode::UNAUTHORIZED
            && content_type.is_some_and(|value| value == "application/problem+json")
    });
    if answered {
        return Finding::good(
            "listeners",
            format!("an administration interface answers on {address}"),
        );
    }
    Finding::error(
        "listeners",
        format!("admin_listen {address} is taken, and not by a license server"),
        "stop what listens there, or change `admin_listen` in operator.toml",
    )
}

/// What answers a GET on this machine, if something does within a moment.
async fn get(address: SocketAddr, path: &str) -> Option<Response<Bytes>> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let url = format!("http://{}{path}", reachable(address));
    let request = Request::get(url).body(Full::default()).ok()?;
    let exchange = async {
        let (head, body) = client.request(request).await.ok()?.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER)
            .collect()
            .await
            .ok()?
            .to_bytes();
        Some(Response::from_parts(head, body))
    };
    tokio::time::timeout(PATIENCE, exchange).await.ok()?
}

/// Where a listener on every address of this machine is reached.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_ANSWER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_reached_on_loopback() {
        for (address, at) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("192.0.2.1:3", "192.0.2.1:3"),
        ] {
            assert_eq!(reachable(address.parse().unwrap()), at.parse().unwrap());
        }
    }
}
