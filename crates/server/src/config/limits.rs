//! Bounds on requests and connections, and who is judged by which.

use core::{fmt, num::NonZeroU32, str::FromStr, time::Duration};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::{ConfigError, within};

/// Bounds on requests and connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Time for headers and for a body to arrive.
    pub arrival: Duration,
    /// Requests worked on at the same time.
    pub concurrent_requests: usize,
    /// Time for a peer to take more of an answer.
    pub departure: Duration,
    /// Open connections.
    pub connections: usize,
    /// Open connections of one address, unless it is a forwarder's.
    pub connections_per_address: usize,
    /// Time after which a connection takes no further request.
    pub connection_lifetime: Duration,
    /// Time for requests in work to finish when the server stops or, but for those of the administration, their
    /// connection's time is over.
    pub shutdown: Duration,
    /// How often an address may ask; `None` for as often as it likes.
    pub address_rate: Option<Rate>,
    /// How often a device or a packager may ask; `None` for as often as it likes.
    pub device_rate: Option<Rate>,
    /// How often a named service may ask; `None` for as often as it likes.
    pub service_rate: Option<Rate>,
    /// Who passes on requests of others, and names them in `X-Forwarded-For`.
    pub forwarders: Vec<Network>,
}

impl Default for Limits {
    /// As the sample documents them.
    fn default() -> Self {
        LimitsFile::default().limits()
    }
}

/// How often somebody may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a second, in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once, after a rest.
    pub burst: NonZeroU32,
}

impl Rate {
    /// A rate, or none if one of its numbers is 0.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let (per_second, burst) = (NonZeroU32::new(per_second)?, NonZeroU32::new(burst)?);
        Some(Self { per_second, burst })
    }
}

/// Addresses that belong together: `192.0.2.1`, or `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether the address is one of them. An IPv4 address inside IPv6 (`::ffff:192.0.2.1`) is that IPv4
    /// address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// A text is no [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address, or a network such as 10.0.0.0/8")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = text.parse::<IpNet>();
        let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(canonical).map(Self).map_err(|_| NetworkError)
    }
}

/// A network of IPv4 addresses inside IPv6 as the one of IPv4 that it is: addresses are compared as that.
fn canonical(network: IpNet) -> IpNet {
    let inside = network.prefix_len().checked_sub(96);
    match (network.addr().to_canonical(), inside) {
        (address @ IpAddr::V4(_), Some(prefix)) => IpNet::new(address, prefix).unwrap_or(network),
        _ => network,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    body_bytes: usize,
    arrival_seconds: u64,
    departure_seconds: u64,
    concurrent_requests: usize,
    connections: usize,
    connections_per_address: usize,
    connection_seconds: u64,
    shutdown_seconds: u64,
    address_rate: u32,
    address_burst: u32,
    device_rate: u32,
    device_burst: u32,
    service_rate: u32,
    service_burst: u32,
    forwarders: Vec<String>,
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            arrival_seconds: 15,
            departure_seconds: 15,
            concurrent_requests: 256,
            connections: 1024,
            connections_per_address: 128,
            connection_seconds: 300,
            shutdown_seconds: 10,
            address_rate: 200,
            address_burst: 1000,
            device_rate: 10,
            device_burst: 100,
            service_rate: 1000,
            service_burst: 2000,
            forwarders: vec!["127.0.0.1".to_owned(), "::1".to_owned()],
        }
    }
}

impl LimitsFile {
    pub(super) fn validate(&self) -> Result<Limits, ConfigError> {
        let bytes = "4096 to 16777216";
        within("limits.body_bytes", self.body_bytes, 4096, 16 << 20, bytes)?;
        for (key, value) in [
            ("limits.arrival_seconds", self.arrival_seconds),
            ("limits.departure_seconds", self.departure_seconds),
        ] {
            within(key, value, 1, 300, "1 to 300")?;
        }
        for (key, value) in [
            ("limits.concurrent_requests", self.concurrent_requests),
            ("limits.connections", self.connections),
            ("limits.connections_per_address", self.connections_per_address),
        ] {
            within(key, value, 1, 65_536, "1 to 65536")?;
        }
        let (lifetime, seconds) = (self.connection_seconds, "1 to 86400");
        within("limits.connection_seconds", lifetime, 1, 86_400, seconds)?;
        within(
            "limits.shutdown_seconds",
            self.shutdown_seconds,
            1,
            600,
            "1 to 600",
        )?;
        for (key, value) in [
            ("limits.address_rate", self.address_rate),
            ("limits.device_rate", self.device_rate),
            ("limits.service_rate", self.service_rate),
        ] {
            within(key, value, 0, 1_000_000, "0 to 1000000")?;
        }
        for (key, value) in [
            ("limits.address_burst", self.address_burst),
            ("limits.device_burst", self.device_burst),
            ("limits.service_burst", self.service_burst),
        ] {
            within(key, value, 1, 1_000_000, "1 to 1000000")?;
        }
        if self.networks().count() < self.forwarders.len() {
            return Err(ConfigError::Value {
                key: "limits.forwarders",
                expected: "addresses, or networks such as 10.0.0.0/8",
            });
        }
        Ok(self.limits())
    }

    fn limits(&self) -> Limits {
        Limits {
            body_bytes: self.body_bytes,
            arrival: Duration::from_secs(self.arrival_seconds),
            departure: Duration::from_secs(self.departure_seconds),
            concurrent_requests: self.concurrent_requests,
            connections: self.connections,
            connections_per_address: self.connections_per_address,
            connection_lifetime: Duration::from_secs(self.connection_seconds),
            shutdown: Duration::from_secs(self.shutdown_seconds),
            address_rate: Rate::new(self.address_rate, self.address_burst),
            device_rate: Rate::new(self.device_rate, self.device_burst),
            service_rate: Rate::new(self.service_rate, self.service_burst),
            forwarders: self.networks().collect(),
        }
    }

    /// The forwarders that can be read.
    fn networks(&self) -> impl Iterator<Item = Network> {
        self.forwarders.iter().filter_map(|text| text.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_many() {
        let holds = |network: &str, address: &str| {
            let network: Network = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        assert!(holds("192.0.2.1", "192.0.2.1"));
        assert!(holds("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!holds("192.0.2.1", "192.0.2.2"));
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1"));
        assert!(!holds("2001:db8::/32", "::1"));
        assert!(holds("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(holds("::ffff:10.0.0.0/104", "10.255.0.1"));
        assert!(!holds("::ffff:10.0.0.0/104", "11.0.0.1"));
        for wrong in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0",
            "10.0.0.1:80",
            " 10.0.0.1",
        ] {
            assert_eq!(wrong.parse::<Network>(), Err(NetworkError), "{wrong}");
        }
    }
}
