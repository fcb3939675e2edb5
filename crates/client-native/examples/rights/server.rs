//! The license server, in a thread of its own: it makes the next response while the client installs one.

use std::sync::mpsc::{Receiver, Sender, channel};

use keyward_license::{ids::Kid, license::LicenseBody, operator_profile::OperatorProfile};
use keyward_testkit::{
    fake_server::{FakeServer, LICENSE_PATH, ORIGIN, Reply},
    pki::{DAY, NOW},
};

use crate::Outcome;

/// What goes to the server.
struct Order {
    path: &'static str,
    body: Vec<u8>,
    /// Key ids that it is to have.
    kids: Vec<Kid>,
    /// Whether it issues rentals: 30 days, and two from the first play on.
    rental: bool,
}

/// The way to the server. Answers come in the order of what was sent.
pub(crate) struct Server {
    orders: Sender<Order>,
    answers: Receiver<Reply>,
}

impl Server {
    /// A server, and the profile of its operator.
    pub(crate) fn start() -> Outcome<(Self, OperatorProfile)> {
        let (orders, ordered) = channel();
        let (answer, answers) = channel();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let server = FakeServer::new([1; 32]);
            if tell.send(server.operator.profile()).is_ok() {
                serve(server, &ordered, &answer);
            }
        });
        Ok((Self { orders, answers }, told.recv()?))
    }

    /// Sends a license request; [`Server::response`] is its answer.
    pub(crate) fn send(&self, body: Vec<u8>, kids: Vec<Kid>, rental: bool) -> Outcome {
        self.orders.send(Order {
            path: LICENSE_PATH,
            body,
            kids,
            rental,
        })?;
        Ok(())
    }

    /// What the server answers to what was sent first.
    pub(crate) fn response(&self) -> Outcome<Vec<u8>> {
        let reply = self.answers.recv()?;
        match reply.status {
            200 => Ok(reply.body),
            status => Err(format!("the license server answered {status}").into()),
        }
    }

    /// Anything but a license request, and the answer to it.
    pub(crate) fn ask(&self, path: &'static str, body: Vec<u8>) -> Outcome<Vec<u8>> {
        self.orders.send(Order {
            path,
            body,
            kids: Vec::new(),
            rental: false,
        })?;
        self.response()
    }
}

fn serve(mut server: FakeServer, orders: &Receiver<Order>, answers: &Sender<Reply>) {
    while let Ok(order) = orders.recv() {
        server.keys = order.kids.into_iter().map(|kid| (kid, [0xc5; 16])).collect();
        server.requests.clear();
        server.bent.license = order.rental.then(|| {
            Box::new(|body: &mut LicenseBody| {
                body.end = Some(NOW.plus(30 * DAY));
                body.expiration_after_first_play = Some(2 * DAY);
            }) as Box<_>
        });
        let reply = server.answer(&format!("{ORIGIN}{}", order.path), &order.body);
        if answers.send(reply).is_err() {
            return;
        }
    }
}
