//! Recording a test operator, and answering again without it.

use std::path::PathBuf;

use keyward_license::enrolment::EnrolmentRequest;
use keyward_license::{codec::Wire, discovery::media_type, signed};
use keyward_server::{
    Error,
    test_mode::transcript::{ExchangeFault, Recorder, Transcript},
};
use tokio::{net::TcpListener, sync::oneshot};

use super::*;
use crate::common::{Recipient, seal};

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    media_type: String,
    body: Vec<u8>,
}

/// Sends, to whoever answers there.
pub(crate) async fn exchange(origin: &str, path: &str, posted: Option<(&'static str, Vec<u8>)>) -> Answer {
    let url = format!("{origin}{path}");
    let exchange = move || {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = ureq::Agent::new_with_config(config.build());
        let answer = match posted {
            Some((media_type, body)) => agent.post(url).content_type(media_type).send(&body[..]),
            None => agent.get(url).call(),
        };
        let mut answer = answer.unwrap();
        let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        Answer {
            status: answer.status().as_u16(),
            media_type,
            body: answer.body_mut().read_to_vec().unwrap(),
        }
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

/// A device that draws the same random numbers each time it is made, and asks whoever answers at an origin.
async fn play(world: &World, origin: &str) -> Vec<Answer> {
    let document = exchange(origin, "/.well-known/keyward", None).await;
    let (anchor, operator) = (world.anchor(), world.profile().operator());
    let recipient = Recipient::read(&document.body, &anchor, operator, NOW);
    let mut device = Device::new(5, &Suite::ALL);
    let enrolment = device.enrolment(&recipient, "test");
    let message = signed::sign::<EnrolmentRequest>(&enrolment.encode(), &[], &[], &device.signing).unwrap();
    let sealed = seal::<EnrolmentRequest>(&recipient, Suite::P256, &message, &mut device.rng);
    let enrolled = exchange(
        origin,
        "/enrolment",
        Some((media_type::ENROLMENT_REQUEST, sealed)),
    )
    .await;
    device.take_enrolment(world, &enrolment, &enrolled.body);
    let mut answers = vec![document, enrolled];
    for query in [
        "?cfg=(persist:true)",
        "?cfg=(errorcode:502)",
        "?cfg=(errorcode:301)",
        "",
    ] {
        let body = device.request(&recipient, &[FILM]);
        let sealed = device.seal(&recipient, Suite::XWing, &body);
        let posted = Some((media_type::LICENSE_REQUEST, sealed));
        answers.push(exchange(origin, &format!("/license{query}"), posted).await);
    }
    answers
}

/// A recorded play: the world, its transcript, and what the device got.
async fn recorded() -> (World, PathBuf, Vec<Answer>) {
    let world = world().await;
    let path = world.home.path().join("transcript");
    let recorder = Recorder::create(&world.server, &path).unwrap();
    let [public, admin] = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let origin = format!("http://{}", public.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { stopped.await.unwrap_or_default() };
    let serving = tokio::spawn(
        world
            .server
            .clone()
            .serve_recorded(public, admin, shutdown, recorder),
    );
    let answers = play(&world, &origin).await;
    assert_eq!(exchange(&origin, "/health/live", None).await.status, 200);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    (world, path, answers)
}

#[tokio::test]
async fn a_client_that_asks_the_same_gets_the_same_bytes_without_the_operator() {
    let (world, path, answers) = recorded().await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 503, 200, 200]);
    let transcript = Transcript::read(&path).unwrap();
    assert_eq!(transcript.exchanges().len(), 6);
    assert!(transcript.check().all(|one| one.is_ok()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { stopped.await.unwrap_or_default() };
    let replaying = tokio::spawn(transcript.serve(listener, shutdown));
    for _ in 0..2 {
        assert_eq!(play(&world, &origin).await, answers);
    }
    // Another request has no answer.
    let unknown = exchange(
        &origin,
        "/license",
        Some((media_type::LICENSE_REQUEST, vec![0xa0])),
    )
    .await;
    assert_eq!(
        (unknown.status, Problem::decode(&unknown.body).unwrap().code),
        (404, 106)
    );
    stop.send(()).unwrap();
    replaying.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_altered_is_found() {
    let (_world, path, _) = recorded().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // The answer to the license request in the place of the one to the enrolment request, and the other way round.
    let field = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap() };
    let (mut enrolment, mut license) = (field(lines[2]), field(lines[3]));
    let answer = enrolment["answer"].take();
    enrolment["answer"] = license["answer"].take();
    license["answer"] = answer;
    let swapped = [
        lines[0],
        lines[1],
        &enrolment.to_string(),
        &license.to_string(),
        lines[4],
    ]
    .join("\n");
    let transcript = Transcript::parse(swapped.as_bytes()).unwrap();
    let outcomes: Vec<_> = transcript.check().collect();
    assert!(outcomes[0].is_ok() && outcomes[3].is_ok());
    for outcome in &outcomes[1..3] {
        assert!(matches!(outcome, Err(ExchangeFault::Answer(_))), "{outcome:?}");
    }
    let mut elsewhere = field(lines[3]);
    elsewhere["path"] = "/elsewhere".into();
    let of = |line: &serde_json::Value| {
        let text = format!("{}\n{line}\n", lines[0]);
        Transcript::parse(text.as_bytes())
            .unwrap()
            .check()
            .next()
            .unwrap()
    };
    assert_eq!(of(&elsewhere), Err(ExchangeFault::Path));
    let mut refused = field(lines[4]);
    refused["status"] = 500.into();
    assert_eq!(of(&refused), Err(ExchangeFault::Problem));
    let mut request = field(lines[3]);
    request["request"] = "oA==".into();
    assert!(matches!(of(&request), Err(ExchangeFault::Request(_))));
    for malformed in ["", "{}", "x", lines[1]] {
        assert!(
            matches!(Transcript::parse(malformed.as_bytes()), Err(Error::Transcript(_))),
            "{malformed}"
        );
    }
    let cut = &text.as_bytes()[..text.len() - 10];
    assert!(matches!(Transcript::parse(cut), Err(Error::Transcript(_))));
}

#[tokio::test]
async fn no_other_operator_is_recorded_and_no_file_is_written_over() {
    let service = World::new().await;
    let path = service.home.path().join("transcript");
    assert!(matches!(
        Recorder::create(&service.server, &path),
        Err(Error::NotATestOperator)
    ));
    assert!(!path.exists());
    let world = world().await;
    std::fs::write(&path, "x").unwrap();
    assert!(matches!(
        Recorder::create(&world.server, &path),
        Err(Error::File { .. })
    ));
}

#[tokio::test]
async fn a_query_is_for_the_licenses_of_a_test_operator_alone() {
    for (world, expected) in [(world().await, 400), (World::new().await, 404)] {
        let [public, admin] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let origin = format!("http://{}", public.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let serving = tokio::spawn(world.server.clone().serve(public, admin, shutdown));
        let posted = |media_type| Some((media_type, vec![0xa0]));
        let license = exchange(&origin, "/license?cfg=()", posted(media_type::LICENSE_REQUEST)).await;
        assert_eq!(license.status, expected);
        for answer in [
            exchange(
                &origin,
                "/enrolment?cfg=()",
                posted(media_type::ENROLMENT_REQUEST),
            )
            .await,
            exchange(&origin, "/.well-known/keyward?a", None).await,
        ] {
            assert_eq!(
                (answer.status, Problem::decode(&answer.body).unwrap().code),
                (404, 106)
            );
        }
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
    }
}
