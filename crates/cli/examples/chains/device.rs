//! The device, whose clock stands still, and its way to the license server.

use std::{path::Path, rc::Rc};

use keyward_client::flow::{Answer, Moment, Outgoing};
use keyward_client_native::{Clock, NativeClient, Options, Transport};
use keyward_license::{discovery::WELL_KNOWN_PATH, ids::Kid, time::Timestamp};
use keyward_server::Server;
use tokio::runtime::Runtime;

use crate::Outcome;

/// The time.
pub(crate) const NOW: Timestamp = Timestamp(1_900_000_000);
/// Key id of the root that the device has a license of.
pub(crate) const ROOT: Kid = Kid::new([0xa0; 16]);

struct Standing;

impl Clock for Standing {
    fn moment(&self) -> Moment {
        Moment {
            utc: Some(NOW),
            monotonic: 0,
        }
    }
}

/// A license server in this process.
pub(crate) struct Line {
    pub(crate) server: Server,
    pub(crate) runtime: Rc<Runtime>,
}

impl Transport for Line {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let (server, body) = (&self.server, &outgoing.body[..]);
        let answered = self.runtime.block_on(async {
            match &outgoing.url {
                url if url.ends_with(WELL_KNOWN_PATH) => server.discovery().await,
                url if url.ends_with("/enrolment") => server.enrol(body).await,
                url if url.ends_with("/packaging") => server.package(body).await,
                _ => server.issue(body).await,
            }
        });
        let body = answered.map_err(|problem| problem.detail)?;
        Ok(Answer { status: 200, body })
    }
}

/// Opens the device in its folder.
pub(crate) fn open(folder: &Path, line: Box<dyn Transport>) -> Outcome<NativeClient> {
    let options = Options {
        clock: Box::new(Standing),
        ..Options::default()
    };
    Ok(NativeClient::open_with(&folder.join("device"), line, options)?)
}
