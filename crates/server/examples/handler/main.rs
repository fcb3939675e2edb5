//! A license server whose licenses are decided by Rust alone: a box office with a list of sold tickets.
//!
//! ```text
//!  handler OPERATOR TICKETS     serves the operator in this directory until it is interrupted
//! ```
//! The operator is one that `keyward init` made and `keyward package` packaged for. `TICKETS` is a text file with a line
//! for each ticket: an account and a key id. Nobody needs an entitlement in the database, and none counts.

mod box_office;

use std::{error::Error, path::Path, sync::Arc};

use keyward_server::{Server, clock::SystemClock, sealing::KekSource};
use tokio::net::TcpListener;

use box_office::BoxOffice;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [operator, tickets] = &arguments[..] else {
        return Err("usage: handler OPERATOR TICKETS".into());
    };
    let box_office = BoxOffice::read(&std::fs::read_to_string(tickets)?, "https://cinema.example")?;
    tokio::runtime::Runtime::new()?.block_on(serve(Path::new(operator), box_office))
}

async fn serve(operator: &Path, box_office: BoxOffice) -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(SystemClock);
    let server = Server::open_with_handler(operator, KekSource::File, clock, box_office).await?;
    let public = TcpListener::bind(server.config().listen).await?;
    let admin = TcpListener::bind(server.config().admin_listen).await?;
    let interrupted = async {
        tokio::signal::ctrl_c().await.ok();
    };
    Ok(server.serve(public, admin, interrupted).await?)
}
