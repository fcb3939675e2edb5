//! Accepting connections, and stopping without dropping what is in work.
//!
//! A connection has a place, of which there are `limits.connections`. It gives it back in the end, whatever
//! its peer does: what the peer sends must arrive in time, what it is sent it must take in time
//! ([`Prompt`]), after `limits.connection_lifetime` there is no further request, and who lets the server wait
//! gives way to who comes ([`Connections`]). For how long the last request may go on then, [`Overtime`] says.

use core::{net::SocketAddr, pin::pin, time::Duration};
use std::sync::Arc;

use axum::{Router, extract::Request};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub(crate) use super::connections::Counts;
use super::{
    addresses::Peer,
    connections::{Connection, Connections},
    prompt::Prompt,
};
use crate::config::Limits;

/// What becomes of a request that is in work when the lifetime of its connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overtime {
    /// It gets `limits.shutdown`, as one gets when the server stops: anybody may be the peer.
    Short,
    /// It goes on to its end. A stream lasts for as long as its data, and each piece of it has its time to come and to
    /// go: this is for those who may administer.
    ToItsEnd,
}

/// Serves `router` until `stopped` says so, and counts its connections. Then no connection is accepted, idle
/// ones are closed, and requests in work get the configured time; what is left is cut off.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    (limits, overtime): (Limits, Overtime),
    counts: Counts,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Connections::new(&limits, counts);
    let limits = Arc::new(limits);
    let mut connections = JoinSet::new();
    loop {
        let admitted = tokio::select! {
            admitted = admit(&listener, &places) => admitted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        // Connections that ended are forgotten here, so that the set stays as small as they are few.
        while connections.try_join_next().is_some() {}
        let Some((stream, peer, connection)) = admitted else {
            continue;
        };
        let serving = Serving {
            router: router.clone(),
            limits: Arc::clone(&limits),
            overtime,
            peer: Peer(peer.ip()),
            connection,
        };
        connections.spawn(serving.serve(stream, stopped.clone()));
    }
    drop(listener);
    // Each connection ends itself in time.
    while connections.join_next().await.is_some() {}
}

/// One connection, and what answers it.
struct Serving {
    router: Router,
    limits: Arc<Limits>,
    overtime: Overtime,
    peer: Peer,
    connection: Connection,
}

impl Serving {
    /// Serves until the peer closes, its lifetime is over or the server stops. In the last two cases a request
    /// in work still gets the configured time, or, until the server stops, as much as it takes ([`Overtime`]). A
    /// connection that has to give way waited for its peer.
    async fn serve(self, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
        let (limits, overtime) = (Arc::clone(&self.limits), self.overtime);
        let held = self.connection.clone();
        let stream = TokioIo::new(Prompt::new(stream, limits.departure));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.arrival)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(stream, service_fn(move |request| self.answer(request)))
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            _ = stopped.wait_for(|stopped| *stopped) => None,
            () = tokio::time::sleep(limits.connection_lifetime) => None,
            () = held.displaced() => return tracing::debug!("a silent connection gave way"),
        };
        let ended = match (ended, overtime) {
            (None, Overtime::ToItsEnd) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => Some(ended),
                    _ = stopped.wait_for(|stopped| *stopped) => None,
                    () = held.displaced() => return tracing::debug!("a silent connection gave way"),
                }
            }
            (ended, _) => ended,
        };
        let ended = match ended {
            Some(ended) => Ok(ended),
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(limits.shutdown, connection).await
            }
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = %error, "connection ended"),
            Err(_) => tracing::warn!("a connection was cut off with a request in work"),
        }
    }

    /// Answers a request, which knows where it came from.
    fn answer(&self, mut request: Request<Incoming>) -> impl Future<Output = Answered> + use<> {
        let connection = self.connection.clone();
        // Who reads a body says when it has arrived.
        if request.body().is_end_stream() {
            connection.heard();
        }
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(connection.clone());
        let answer = TowerToHyperService::new(self.router.clone()).call(request);
        async move {
            let answer = answer.await;
            connection.waits();
            answer
        }
    }
}

type Answered = Result<axum::response::Response, core::convert::Infallible>;

/// Largest head of a request, and what is held of a body before it is read.
const HEAD_BYTES: usize = 32 * 1024;

/// The next connection that may be served, once there is a place for it; `None` to look again. Dropping the
/// future closes at most one that waits for its place.
async fn admit(listener: &TcpListener, places: &Connections) -> Option<(TcpStream, SocketAddr, Connection)> {
    match listener.accept().await {
        Ok((stream, peer)) => {
            stream.set_nodelay(true).ok();
            let admitted = places.admit(peer.ip()).await;
            if admitted.is_none() {
                tracing::debug!(peer = %peer.ip(), "an address has too many connections");
            }
            Some((stream, peer, admitted?))
        }
        Err(error) => {
            // Out of file descriptors, usually: connections that end free some.
            tracing::warn!(error = %error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::oneshot,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    /// Asks for something that is not done before it is let go, longer than `SHORT` twice after it was asked for.
    struct Asked {
        stream: TcpStream,
        release: Option<oneshot::Sender<()>>,
        stop: watch::Sender<bool>,
        listening: tokio::task::JoinHandle<()>,
    }

    impl Asked {
        async fn of(overtime: Overtime) -> Self {
            let limits = Limits {
                connection_lifetime: SHORT,
                shutdown: SHORT,
                ..Limits::default()
            };
            let (release, released) = oneshot::channel();
            let released = Arc::new(Mutex::new(Some(released)));
            let (begin, begun) = oneshot::channel();
            let begin = Arc::new(Mutex::new(Some(begin)));
            let answer = move || async move {
                begin.lock().unwrap().take().unwrap().send(()).unwrap();
                let released = released.lock().unwrap().take().unwrap();
                released.await.unwrap();
                "done"
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = watch::channel(false);
            let router = Router::new().route("/", get(answer));
            let serving = listen(listener, router, (limits, overtime), Counts::default(), stopped);
            let listening = tokio::spawn(serving);
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            begun.await.unwrap();
            tokio::time::sleep(5 * SHORT).await;
            Self {
                stream,
                release: Some(release),
                stop,
                listening,
            }
        }

        /// What comes, until the connection is closed.
        async fn answer(&mut self) -> String {
            let mut answer = Vec::new();
            let read = self.stream.read_to_end(&mut answer);
            let read = tokio::time::timeout(Duration::from_secs(30), read).await;
            read.unwrap().ok();
            String::from_utf8(answer).unwrap()
        }
    }

    #[tokio::test]
    async fn a_request_outlasts_its_connections_time_where_it_may() {
        let mut asked = Asked::of(Overtime::ToItsEnd).await;
        asked.release.take().unwrap().send(()).unwrap();
        // It is the last one.
        let answer = asked.answer().await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"),
            "{answer}"
        );
        asked.stop.send(true).unwrap();
        asked.listening.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_is_cut_off_soon_after_its_connections_time_elsewhere() {
        let mut asked = Asked::of(Overtime::Short).await;
        assert_eq!(asked.answer().await, "");
        assert!(asked.release.unwrap().is_closed());
    }

    #[tokio::test]
    async fn a_stop_ends_what_is_in_overtime() {
        let mut asked = Asked::of(Overtime::ToItsEnd).await;
        assert!(asked.release.as_ref().is_some_and(|release| !release.is_closed()));
        asked.stop.send(true).unwrap();
        assert_eq!(asked.answer().await, "");
        asked.listening.await.unwrap();
    }
}
