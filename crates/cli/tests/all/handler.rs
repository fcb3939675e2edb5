//! The server's example `handler` and the client in one process: licenses that Rust alone decides about.

#[path = "../../../server/examples/handler/box_office.rs"]
mod box_office;
mod peer;

use std::{path::Path, sync::Arc};

use box_office::BoxOffice;
use getrandom::SysRng;
use keyward_client::{
    acquire::Wanted,
    flow::{Answer, Outgoing},
    install::AcquiredKey,
    session::Acquisition,
};
use keyward_client_native::{NativeClient, Transport};
use keyward_license::{
    codec::Wire, discovery::WELL_KNOWN_PATH, error_code::Problem, ids::Kid, license::KeyType,
    operator_profile::OperatorProfile,
};
use keyward_server::{
    Server,
    admin::TokenRequest,
    clock::{Clock, SystemClock},
    operator::{self, InitOptions},
    sealing::KekSource,
};
use rand_core::UnwrapErr;
use tokio::runtime::Runtime;

const FILM: Kid = Kid::new([1; 16]);
const OTHER_FILM: Kid = Kid::new([2; 16]);

/// The server, called instead of reached.
struct InProcess {
    server: Server,
    runtime: Arc<Runtime>,
}

impl Transport for InProcess {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let body = &outgoing.body[..];
        let answered = self.runtime.block_on(async {
            match &outgoing.url {
                url if url.ends_with(WELL_KNOWN_PATH) => self.server.discovery().await,
                url if url.ends_with("/enrolment") => self.server.enrol(body).await,
                url if url.ends_with("/license") => self.server.issue(body).await,
                url => panic!("the client called {url}"),
            }
        });
        Ok(match answered {
            Ok(body) => Answer { status: 200, body },
            Err(problem) => refused(&problem),
        })
    }

    fn wait(&mut self, _: std::time::Duration) {}
}

fn refused(problem: &Problem) -> Answer {
    Answer {
        status: problem.status.try_into().unwrap(),
        body: problem.encode(),
    }
}

/// A new operator that knows two films.
async fn initialised(dir: &Path) {
    let options = InitOptions {
        name: "Cinema".into(),
        public_url: "http://127.0.0.1:8470".into(),
        listen: "127.0.0.1:8470".into(),
        admin_listen: "127.0.0.1:8471".into(),
        kek: KekSource::File,
    };
    let rng = &mut UnwrapErr(SysRng);
    operator::init(dir, options, SystemClock.now(), rng)
        .await
        .unwrap();
    let server = Server::open(dir, KekSource::File, Arc::new(SystemClock))
        .await
        .unwrap();
    for film in [FILM, OTHER_FILM] {
        server.register_key(film, KeyType::File, 1).await.unwrap();
    }
    server.close().await;
}

/// A device of alice's.
fn device(home: &Path, server: &Server, runtime: &Arc<Runtime>) -> NativeClient {
    let token = runtime.block_on(server.create_enrolment_token(TokenRequest::new("alice")));
    let profile = operator::read_profile(&home.join("operator")).unwrap();
    let profile = OperatorProfile::decode(&profile).unwrap();
    let transport = InProcess {
        server: server.clone(),
        runtime: Arc::clone(runtime),
    };
    let mut client = NativeClient::open(&home.join("client"), Box::new(transport)).unwrap();
    client.enrol(profile, token.unwrap().expose().to_owned()).unwrap();
    client
}

#[test]
fn a_box_office_in_rust_decides_and_the_client_gets_what_it_says() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("operator");
    let runtime = Arc::new(Runtime::new().unwrap());
    let tickets = format!("alice {FILM}\nbob {OTHER_FILM}\n");
    let box_office = BoxOffice::read(&tickets, "https://cinema.example").unwrap();
    let server = runtime.block_on(async {
        initialised(&dir).await;
        Server::open_with_handler(&dir, KekSource::File, Arc::new(SystemClock), box_office).await
    });
    let server = server.unwrap();
    // An entitlement in the database counts for nothing: the box office decides alone.
    runtime
        .block_on(server.grant("alice", None, "default", None))
        .unwrap();
    let mut client = device(home.path(), &server, &runtime);
    let wanted = Wanted {
        kids: vec![FILM, OTHER_FILM],
        ..Wanted::default()
    };
    let acquired = client.acquire(wanted).unwrap();
    assert_eq!(acquired.custom_data.as_deref(), Some(&b"admitted to 1"[..]));
    let outcome = |kid| acquired.outcomes.iter().find(|(other, _)| *other == kid).unwrap();
    assert!(matches!(outcome(FILM).1, AcquiredKey::Stored(_)));
    let (_, AcquiredKey::Denied(denial)) = outcome(OTHER_FILM) else {
        panic!("alice has no ticket for it");
    };
    assert_eq!(
        (denial.code, &denial.sentence[..], denial.url.clone()),
        (
            301,
            "There is no ticket for this film.",
            Some(format!("https://cinema.example/films/{OTHER_FILM}"))
        )
    );

    // The terms are the box office's own, and the license plays.
    let licenses = client.licenses().unwrap();
    assert_eq!(
        (licenses.len(), licenses[0].expiration_after_first_play),
        (1, Some(48 * 3600))
    );
    let opened = client
        .open_content(vec![FILM], Wanted::default(), Acquisition::Never)
        .unwrap();
    assert_eq!(opened.bound.len(), 1);
    drop(client);
    runtime.block_on(server.close());
}

#[test]
fn a_list_of_tickets_is_read_or_refused() {
    assert!(BoxOffice::read("", "https://cinema.example").is_ok());
    for wrong in ["alice", "alice film", "alice 11"] {
        assert!(
            BoxOffice::read(wrong, "https://cinema.example").is_err(),
            "{wrong}"
        );
    }
}
