//! Accepting connections, and stopping without dropping what is in work.
//!
//! A connection has a place, of which there are `limits.connections`. It gives it back in the end, whatever
//! its peer does: what the peer sends must arrive in time, what it is sent it must take in time
//! ([`Prompt`]), and after `limits.connection_lifetime` there is no further request.

use core::{pin::pin, time::Duration};
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::prompt::Prompt;
use crate::config::Limits;

/// Serves `router` until `stopped` says so; `open` tells how many connections there are. Then no connection is accepted, idle ones are closed, and
/// requests in work get the configured time; what is left is cut off.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    open: Gauge,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        // Connections that ended are forgotten here, so that the set stays as small as they are few.
        while connections.try_join_next().is_some() {}
        let Some((stream, place)) = accepted else { continue };
        let (router, stopped) = (router.clone(), stopped.clone());
        let open = Open::new(&open);
        connections.spawn(async move {
            serve(stream, router, limits, stopped).await;
            drop((open, place));
        });
    }
    drop(listener);
    // Each connection ends itself in time.
    while connections.join_next().await.is_some() {}
}

/// Counts a connection until it is dropped.
struct Open(Gauge);

impl Open {
    fn new(open: &Gauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Serves one connection until its peer closes it, its lifetime is over or the server stops. In the last
/// two cases a request in work still gets the configured time.
async fn serve(stream: TcpStream, router: Router, limits: Limits, mut stopped: watch::Receiver<bool>) {
    let stream = TokioIo::new(Prompt::new(stream, limits.departure));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.arrival)
            .serve_connection(stream, TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopped.wait_for(|stopped| *stopped) => None,
        () = tokio::time::sleep(limits.connection_lifetime) => None,
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

/// The next connection, once there is a place for it. Dropping the future loses nothing.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            stream.set_nodelay(true).ok();
            Some((stream, place))
        }
        Err(error) => {
            // Out of file descriptors, usually: connections that end free some.
            tracing::warn!(error = %error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
