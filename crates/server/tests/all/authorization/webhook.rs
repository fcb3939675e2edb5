//! The authorization webhook: what it may say, and that everything else denies.

mod trouble;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use keyward_crypto::{hpke::Suite, kdf::hmac_sha256};
use keyward_license::codec::Bytes as Data;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{BUSY, NOT_ENTITLED, OTHER, ask, denied, licensed, world};
use crate::common::{KID, NOW, World, ids};

const SECRET: &[u8] = b"the webhook's secret of at least thirty-two bytes";

/// What the service was asked, and how it answers.
pub(crate) struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    asked: Mutex<Vec<(HeaderMap, Bytes)>>,
    answer: Answering,
    /// Answers at the same time, and the most of them.
    now: AtomicUsize,
    most: AtomicUsize,
    /// Lets answers go that wait.
    go: Notify,
}

type Answering = Box<dyn Fn(&Value) -> Reply + Send + Sync>;

pub(crate) enum Reply {
    Json(Value),
    Raw(Response),
    /// Says nothing, ever.
    Silence,
    /// Waits until it is told to go, then answers.
    Later(Value),
}

impl Service {
    pub(crate) async fn new(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::at(listener, address, answer)
    }

    fn at<L>(
        listener: L,
        address: SocketAddr,
        answer: impl Fn(&Value) -> Reply + Send + Sync + 'static,
    ) -> Self
    where
        L: axum::serve::Listener<Addr = SocketAddr>,
    {
        let shared = Arc::new(Shared {
            asked: Mutex::default(),
            answer: Box::new(answer),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            go: Notify::new(),
        });
        let router = Router::new()
            .route("/ask", post(answered))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    fn section(&self, more: &str) -> String {
        format!(
            "[authorization.webhook]\nurl = \"http://{}/ask\"\nsecret_file = \"webhook.secret\"\n{more}",
            self.address
        )
    }

    pub(crate) async fn world(&self, sources: &str, more: &str) -> World {
        world(sources, &self.section(more), &[("webhook.secret", SECRET)]).await
    }

    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.lock().unwrap().len()
    }
}

async fn answered(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let question = serde_json::from_slice(&body).unwrap();
    shared.asked.lock().unwrap().push((headers, body));
    let reply = (shared.answer)(&question);
    let now = shared.now.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(now, Ordering::SeqCst);
    let response = match reply {
        Reply::Json(value) => json_response(&value),
        Reply::Raw(response) => response,
        Reply::Silence => core::future::pending().await,
        Reply::Later(value) => {
            shared.go.notified().await;
            json_response(&value)
        }
    };
    shared.now.fetch_sub(1, Ordering::SeqCst);
    response
}

fn json_response(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// An answer to a question, about these key ids.
pub(crate) fn reply(question: &Value, keys: Value) -> Value {
    let mut answer = json!({ "request": question["request"] });
    answer["keys"] = keys;
    answer
}

fn grant(kid: &keyward_license::ids::Kid) -> Value {
    json!({ "kid": kid.to_string(), "grant": { "policy": "default" } })
}

#[tokio::test]
async fn a_service_denies_for_reasons_of_its_own_with_a_page() {
    let service = Service::new(|question| {
        let url = "https://shop.example/help";
        let deny = json!({ "reason": question["authorization"], "sentence": "No.", "url": url });
        Reply::Json(reply(question, json!([{ "kid": KID.to_string(), "deny": deny }])))
    })
    .await;
    let world = service.world("[\"webhook\"]", "").await;
    let mut device = world.device(4).await;
    let recipient = world.recipient().await;
    for (reason, code) in [
        ("service-specific", 308),
        ("domain-required", 309),
        ("domain-renewal-required", 310),
        ("device-limit-reached", 311),
        ("not-a-member", 312),
        ("account-unknown", 313),
        // Not one that a service may give: nothing is decided.
        ("device-revoked", BUSY),
    ] {
        let mut body = device.request(&recipient, &[KID]);
        body.authorization = Some(reason.to_owned());
        let response = device.ask(&world, &body).await.unwrap();
        let denial = response.results[0].denial.clone().unwrap();
        assert_eq!(denial.code, code, "{reason}");
        if code != BUSY {
            let page = Some("https://shop.example/help");
            assert_eq!((&denial.sentence[..], denial.url.as_deref()), ("No.", page));
        }
    }
}

#[tokio::test]
async fn a_webhook_grants_denies_and_speaks_to_the_application() {
    let service = Service::new(|question| {
        let deny = json!({ "reason": "not-entitled", "sentence": "Not in your plan.", "url": "https://shop.example/plans" });
        let mut answer = reply(question, json!([grant(&KID), { "kid": OTHER.to_string(), "deny": deny }]));
        answer["custom_data"] = "aGVsbG8".into();
        Reply::Json(answer)
    })
    .await;
    let mut world = service.world("[\"webhook\"]", "").await;
    let mut device = world.device(3).await;
    let recipient = world.recipient().await;
    let mut body = device.request(&recipient, &[KID, OTHER]);
    body.authorization = Some("the viewer's token".to_owned());
    body.custom_data = Some(Data(b"hi".to_vec()));
    let response = device.ask(&world, &body).await.unwrap();
    licensed(&world, &device, &response.results[0]);
    let denial = response.results[1].denial.clone().unwrap();
    assert_eq!(
        (denial.code, &denial.sentence[..], denial.url.as_deref()),
        (
            NOT_ENTITLED,
            "Not in your plan.",
            Some("https://shop.example/plans")
        )
    );
    assert_eq!(response.custom_data, Some(Data(b"hello".to_vec())));
    // The same request again gets the same, also after a restart, and the service is not asked again.
    world.reopen().await;
    let again = device.ask(&world, &body).await.unwrap();
    assert_eq!(
        (ids(&world, &again), &again.custom_data),
        (ids(&world, &response), &response.custom_data)
    );
    assert_eq!(again.results[1].denial, response.results[1].denial);
    assert_eq!(service.asked(), 1);

    let asked = service.shared.asked.lock().unwrap();
    let (headers, question) = &asked[0];
    let signature = headers["keyward-signature"].to_str().unwrap();
    let mac = hmac_sha256(SECRET, &[NOW.0.to_string().as_bytes(), b".", question]).unwrap();
    assert_eq!(signature, format!("t={},v1={}", NOW.0, hex::encode(mac)));
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    let question: Value = serde_json::from_slice(question).unwrap();
    let expected = json!({
        "version": 1, "request": crate::common::pending(&body).digest.to_string(), "time": NOW.0,
        "device": { "id": device.id().to_string(), "account": "alice", "security_level": 2000 },
        "client": { "name": "hand-made", "version": "1", "platform": "test" },
        "persistent": true,
        "keys": [
            { "kid": KID.to_string(), "key_type": "file", "entitlement": { "policy": "default" } },
            { "kid": OTHER.to_string(), "key_type": "file", "entitlement": { "policy": "default" } },
        ],
        "authorization": "the viewer's token", "custom_data": "aGk",
    });
    assert_eq!(question, expected);
}

#[tokio::test]
async fn a_webhook_may_give_terms_or_narrow_what_the_rows_say() {
    let service = Service::new(|question| {
        let own = json!({ "terms": { "duration_seconds": 77, "persistent_allowed": false, "minimum_security_level": 150 } });
        let rows = json!({ "entitlement": true, "limits": { "duration_seconds": 55 } });
        let keys = json!([{ "kid": KID.to_string(), "grant": own }, { "kid": OTHER.to_string(), "grant": rows }]);
        Reply::Json(reply(question, keys))
    })
    .await;
    let world = service.world("[\"webhook\"]", "").await;
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID, OTHER], None).await.unwrap();
    let own = licensed(&world, &device, &response.results[0]);
    assert_eq!((own.end.unwrap().0 - NOW.0, own.persistent), (77, false));
    let rows = licensed(&world, &device, &response.results[1]);
    assert_eq!((rows.end.unwrap().0 - NOW.0, rows.persistent), (55, true));
    let recorded =
        "SELECT count(*) FROM issued WHERE (policy, policy_version) IN (VALUES ('', 0), ('default', 1))";
    assert_eq!(world.count(recorded).await, 2);
}

#[tokio::test]
async fn the_first_source_that_decides_is_heard_and_the_next_is_asked_about_the_rest() {
    let service = Service::new(|question| {
        let deny = json!({ "reason": "authorization-refused", "sentence": "Sign in." });
        Reply::Json(reply(
            question,
            json!([{ "kid": OTHER.to_string(), "deny": deny }]),
        ))
    })
    .await;
    // The webhook says nothing about KID and vetoes OTHER; the rows have both.
    let world = service.world("[\"webhook\", \"rows\"]", "").await;
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID, OTHER], None).await.unwrap();
    licensed(&world, &device, &response.results[0]);
    assert_eq!(response.results[1].denial.as_ref().unwrap().sentence, "Sign in.");
    // The rows first: nothing is left to ask about.
    let world = service.world("[\"rows\", \"webhook\"]", "").await;
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID, OTHER], None).await.unwrap();
    assert_eq!(ids(&world, &response).len(), 2);
    assert_eq!(service.asked(), 1);
}

/// The operator's own sentences are for the server's denials; a service has its own.
#[tokio::test]
async fn the_configured_sentence_does_not_replace_the_services() {
    let service = Service::new(|question| {
        let deny = json!({ "reason": "not-entitled", "sentence": "From the service." });
        Reply::Json(reply(question, json!([{ "kid": KID.to_string(), "deny": deny }])))
    })
    .await;
    let sections = format!(
        "{}\n[denials]\nnot-entitled = {{ sentence = \"From the file.\" }}\n",
        service.section("")
    );
    let mut world = World::new().await;
    super::write_private(&world.dir().join("webhook.secret"), SECRET);
    let path = world.dir().join("operator.toml");
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\n[denials]\n", "\n");
    std::fs::write(&path, text).unwrap();
    super::configure(&world, "[\"webhook\"]", &sections);
    world
        .server
        .register_key(OTHER, keyward_license::license::KeyType::File, 1)
        .await
        .unwrap();
    world.reopen().await;
    let mut device = world.device(3).await;
    let response = ask(&world, &mut device, &[KID, OTHER], None).await.unwrap();
    let sentences: Vec<_> = response
        .results
        .iter()
        .map(|result| result.denial.clone().unwrap().sentence)
        .collect();
    assert_eq!(sentences, ["From the service.", "From the file."]);
}

/// Neither the viewer's token nor the webhook's secret stands in the log, whatever becomes of the question.
#[tokio::test]
async fn no_token_and_no_secret_of_an_authorization_is_in_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false);
    tracing::subscriber::set_global_default(subscriber.with_writer(log.clone()).finish()).unwrap();
    let service = Service::new(|_| Reply::Json(json!({}))).await;
    let key = "[[authorization.jwt]]\nname = \"shop\"\nalgorithm = \"HS256\"\naudience = \"licenses\"\n\
               key_file = \"webhook.secret\"\n";
    let sections = format!("{}\n{key}", service.section(""));
    for sources in ["[\"webhook\"]", "[\"jwt\"]"] {
        let world = world(sources, &sections, &[("webhook.secret", SECRET)]).await;
        let mut device = world.device(3).await;
        let token = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl";
        let response = ask(&world, &mut device, &[KID], Some(token)).await.unwrap();
        denied(&response);
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("cannot be read") && log.contains("was refused"),
        "{log}"
    );
    let secret = core::str::from_utf8(SECRET).unwrap();
    for hidden in ["eyJhbGciOiJIUzI1NiJ9", "c2VjcmV0", "c2lnbmF0dXJl", secret] {
        assert!(!log.contains(hidden), "{hidden} is in the log");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
