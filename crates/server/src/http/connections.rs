//! The open connections: how many there may be, how many of one address, and which gives way.
//!
//! A place is taken with a connection and given back with it. While all are taken, the connection whose peer has
//! let the server wait for longest is closed for who comes next: whoever opens connections and says nothing
//! shuts nobody out.

use core::time::Duration;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::addresses::{Source, includes};
use crate::config::{Limits, Network};

/// The open connections of a listener.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    places: Arc<Semaphore>,
    per_address: usize,
    forwarders: Vec<Network>,
    counts: Counts,
    state: Mutex<State>,
}

/// What is counted of a listener's connections.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    /// Open ones.
    pub(crate) open: Gauge,
    /// Those that were closed at once, because their address had too many.
    pub(crate) refused: Counter,
    /// Those that gave way.
    pub(crate) displaced: Counter,
}

#[derive(Default)]
struct State {
    of_address: HashMap<Source, usize>,
    /// The connections whose peer has the turn, the longest waits first.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
}

struct Waiting {
    since: Instant,
    displaced: Arc<Notify>,
}

impl Connections {
    pub(super) fn new(limits: &Limits, counts: Counts) -> Self {
        Self(Arc::new(Inner {
            places: Arc::new(Semaphore::new(limits.connections)),
            per_address: limits.connections_per_address,
            forwarders: limits.forwarders.clone(),
            counts,
            state: Mutex::default(),
        }))
    }

    /// A place for a connection from `peer`, once there is one; `None` if its address has too many. Dropping the
    /// future loses nothing.
    pub(super) async fn admit(&self, peer: IpAddr) -> Option<Connection> {
        let counted = self.count(peer)?;
        let place = self.place().await?;
        self.0.counts.open.inc();
        let connection = Connection(Arc::new(Held {
            counted,
            displaced: Arc::default(),
            ticket: Mutex::default(),
            _place: place,
        }));
        connection.waits();
        Some(connection)
    }

    /// Counts a connection for its address, if it may be. Those of forwarders are everybody's.
    fn count(&self, peer: IpAddr) -> Option<Counted> {
        let source = (!includes(&self.0.forwarders, peer)).then(|| Source::from(peer));
        if let Some(source) = source {
            let mut state = self.0.state();
            let open = state.of_address.entry(source).or_default();
            if *open >= self.0.per_address {
                self.0.counts.refused.inc();
                return None;
            }
            *open += 1;
        }
        let connections = self.clone();
        Some(Counted { connections, source })
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let mut patience = PATIENCE;
        loop {
            let places = Arc::clone(&self.0.places);
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                return Some(place);
            }
            let again = self.0.displace(patience);
            tokio::select! {
                place = places.acquire_owned() => return place.ok(),
                () = tokio::time::sleep(again) => {}
            }
            // Who keeps its place by asking for something every now and then keeps it no longer.
            patience = LAST_PATIENCE;
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection that has waited for longest, if for `patience` at least. Returns when to look again.
    fn displace(&self, patience: Duration) -> Duration {
        let mut state = self.state();
        let Some(longest) = state.waiting.first_entry() else {
            return patience;
        };
        let waited = longest.get().since.elapsed();
        if waited < patience {
            return patience.saturating_sub(waited);
        }
        longest.remove().displaced.notify_one();
        PATIENCE
    }
}

/// A connection that has a place, until the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Held>);

struct Held {
    counted: Counted,
    displaced: Arc<Notify>,
    /// Where it stands among those that wait, if it does.
    ticket: Mutex<Option<u64>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// It is the peer's turn: a request should come.
    pub(super) fn waits(&self) {
        let mut ticket = self.0.ticket();
        let mut state = self.0.connections().state();
        state.next += 1;
        let fresh = state.next;
        let waiting = Waiting {
            since: Instant::now(),
            displaced: Arc::clone(&self.0.displaced),
        };
        state.waiting.insert(fresh, waiting);
        let old = ticket.replace(fresh);
        old.and_then(|old| state.waiting.remove(&old));
    }

    /// It is the server's turn: a request has come in full.
    pub(crate) fn heard(&self) {
        self.0.forget();
    }

    /// Ready when the connection has to give way. It does not if its request has come meanwhile.
    pub(super) async fn displaced(&self) {
        loop {
            self.0.displaced.notified().await;
            if self.0.has_lost_its_turn() {
                self.0.connections().counts.displaced.inc();
                return;
            }
        }
    }
}

impl Held {
    fn connections(&self) -> &Inner {
        &self.counted.connections.0
    }

    fn ticket(&self) -> MutexGuard<'_, Option<u64>> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it waited until it was closed for another.
    fn has_lost_its_turn(&self) -> bool {
        let ticket = self.ticket();
        ticket.is_some_and(|ticket| !self.connections().state().waiting.contains_key(&ticket))
    }

    fn forget(&self) {
        if let Some(ticket) = self.ticket().take() {
            self.connections().state().waiting.remove(&ticket);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.forget();
        self.connections().counts.open.dec();
    }
}

/// Counts for an address until it is dropped.
struct Counted {
    connections: Connections,
    source: Option<Source>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        let mut state = self.connections.0.state();
        if let Some(open) = state.of_address.get_mut(&source) {
            *open -= 1;
            if *open == 0 {
                state.of_address.remove(&source);
            }
        }
    }
}

/// A peer may let the server wait for so long even if others wait for a place. It is also the time in which an
/// answer that was just given can leave.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same, once somebody has waited for a place in vain. Only what is in work keeps it then for longer.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(connections: usize, per_address: usize) -> (Connections, Counts) {
        let counts = Counts::default();
        let limits = Limits {
            connections,
            connections_per_address: per_address,
            forwarders: vec!["10.0.0.0/8".parse().unwrap()],
            ..Limits::default()
        };
        (Connections::new(&limits, counts.clone()), counts)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_address_has_so_many_and_a_forwarder_any_number() {
        let (all, counts) = connections(100, 2);
        let one = all.admit(ip("2001:db8::1")).await.unwrap();
        let _other = all.admit(ip("2001:db8::2")).await.unwrap();
        assert!(all.admit(ip("2001:db8::3")).await.is_none(), "the same /64");
        assert_eq!(counts.refused.get(), 1);
        let _another = all.admit(ip("2001:db8:0:1::1")).await.unwrap();
        drop(one);
        let _again = all.admit(ip("2001:db8::3")).await.unwrap();
        let mut forwarded = Vec::new();
        for _ in 0..5 {
            forwarded.push(all.admit(ip("10.0.0.1")).await.unwrap());
        }
        assert_eq!(counts.open.get(), 8);
        drop(forwarded);
        assert_eq!(counts.open.get(), 3);
        assert_eq!(all.0.state().of_address.len(), 2, "who has none is forgotten");
        assert_eq!(all.0.state().waiting.len(), 3);
    }

    #[tokio::test]
    async fn who_let_the_server_wait_for_longest_gives_way() {
        let (all, counts) = connections(2, 9);
        let silent = all.admit(ip("192.0.2.1")).await.unwrap();
        let works = all.admit(ip("192.0.2.2")).await.unwrap();
        works.heard();
        let gives_way = tokio::spawn(async move {
            silent.displaced().await;
        });
        let _third = all.admit(ip("192.0.2.3")).await.unwrap();
        gives_way.await.unwrap();
        assert_eq!((counts.displaced.get(), counts.open.get()), (1, 2));
    }

    #[tokio::test]
    async fn who_asks_now_and_then_does_not_keep_its_place_for_good() {
        let (all, counts) = connections(1, 9);
        let asks = all.admit(ip("192.0.2.1")).await.unwrap();
        let gives_way = tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = asks.displaced() => return,
                    () = tokio::time::sleep(PATIENCE / 2) => {
                        asks.heard();
                        asks.waits();
                    }
                }
            }
        });
        let _next = all.admit(ip("192.0.2.2")).await.unwrap();
        gives_way.await.unwrap();
        assert_eq!((counts.displaced.get(), counts.open.get()), (1, 1));
    }

    #[tokio::test]
    async fn a_request_that_comes_while_its_connection_gives_way_is_answered() {
        let (all, counts) = connections(1, 9);
        let late = all.admit(ip("192.0.2.1")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        all.0.displace(Duration::ZERO);
        late.heard();
        let gave_way = async |late: &Connection| {
            tokio::time::timeout(Duration::from_millis(1), late.displaced())
                .await
                .is_ok()
        };
        assert!(!gave_way(&late).await, "it is in work");
        late.waits();
        assert!(!gave_way(&late).await, "it waits for the next one");
        assert_eq!(counts.displaced.get(), 0);
        all.0.displace(Duration::ZERO);
        assert!(gave_way(&late).await);
        assert_eq!(counts.displaced.get(), 1);
    }

    #[tokio::test]
    async fn who_is_worked_for_keeps_its_place() {
        let (all, counts) = connections(1, 9);
        let works = all.admit(ip("192.0.2.1")).await.unwrap();
        works.heard();
        let mut next = core::pin::pin!(all.admit(ip("192.0.2.2")));
        let long = PATIENCE.saturating_mul(2);
        assert!(tokio::time::timeout(long, &mut next).await.is_err());
        drop(works);
        assert!(next.await.is_some());
        assert_eq!(counts.displaced.get(), 0);
    }
}
