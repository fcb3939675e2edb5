//! What stands on both sides of a proxy: real license servers, false ones, and clients that speak plain HTTP.

use core::{pin::Pin, time::Duration};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use keyward_license::{
    discovery::{WELL_KNOWN_PATH, media_type},
    error_code::Problem,
};
use keyward_server::{
    config::Limits,
    proxy::{Proxy, ProxyOptions, UpstreamLimits},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use zeroize::Zeroizing;

use crate::common::World;

/// Something that serves until it is stopped.
pub(crate) struct Serving {
    pub(crate) url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Serving {
    /// What `serve` serves at `url` until the future that it gets is ready.
    pub(crate) fn start<F>(url: String, serve: impl FnOnce(Stopped) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let until: Stopped = Box::pin(async { stopped.await.unwrap_or_default() });
        let task = tokio::spawn(serve(until));
        Self { url, stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    /// Asks it to stop, without waiting until it has.
    pub(crate) fn stopping(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.task
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(format!("{}{path}", self.url), vec![], None).await
    }

    pub(crate) async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        self.post_with(path, vec![("content-type", content_type.to_owned())], body)
            .await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Answer {
        send(format!("{}{path}", self.url), headers, Some(body)).await
    }

    /// Speaks as the bytes say, and reads until the connection ends.
    pub(crate) async fn talk(&self, head: String) -> String {
        let address = self.address().to_owned();
        let talk = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::task::spawn_blocking(talk).await.unwrap()
    }

    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

/// Opens the server of `world` again, with these lines in its configuration.
pub(crate) async fn configure(world: &mut World, settings: &[(&str, &str)]) {
    let path = world.dir().join("operator.toml");
    let mut toml = std::fs::read_to_string(&path).unwrap();
    for (default, own) in settings {
        assert!(toml.contains(default), "{default}");
        toml = toml.replace(default, own);
    }
    std::fs::write(&path, toml).unwrap();
    world.reopen().await;
}

/// A license server of `world` behind its listeners, with these lines in its configuration.
pub(crate) async fn license_server(world: &mut World, settings: &[(&str, &str)]) -> Serving {
    configure(world, settings).await;
    let (public, admin) = (listener().await, listener().await);
    let (url, server) = (
        format!("http://{}", public.local_addr().unwrap()),
        world.server.clone(),
    );
    Serving::start(url, |until| async move {
        server.serve(public, admin, until).await.unwrap()
    })
}

/// Options that a test may change: a proxy before `upstream` that waits for a second.
pub(crate) fn options(upstream: &str) -> ProxyOptions {
    ProxyOptions {
        upstream: upstream.to_owned(),
        token: None,
        authorities: None,
        danger_http_upstream: false,
        limits: Limits::default(),
        upstream_limits: UpstreamLimits {
            answer: Duration::from_secs(1),
            ..UpstreamLimits::default()
        },
        metrics_listen: None,
        danger_metrics_beyond_loopback: false,
    }
}

pub(crate) fn named(upstream: &str, token: &str) -> ProxyOptions {
    ProxyOptions {
        token: Some(Zeroizing::new(token.to_owned())),
        ..options(upstream)
    }
}

pub(crate) async fn proxy(options: ProxyOptions) -> Serving {
    let proxy = Proxy::new(options).unwrap();
    let listener = listener().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    Serving::start(url, |until| proxy.serve(listener, None, until))
}

/// A proxy, and the URL where its metrics are read.
pub(crate) async fn monitored(options: ProxyOptions) -> (Serving, String) {
    let proxy = Proxy::new(options).unwrap();
    let (public, metrics) = (listener().await, listener().await);
    let [url, metrics_url] =
        [&public, &metrics].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let serving = Serving::start(url, |until| proxy.serve(public, Some(metrics), until));
    (serving, format!("{metrics_url}/metrics"))
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// What a false license server got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &value[..])
    }
}

/// A license server that keeps what it gets, and answers as it was told.
#[derive(Clone)]
pub(crate) struct Double {
    pub(crate) got: Arc<Mutex<Vec<Got>>>,
    answer: Arc<Mutex<Reply>>,
    document: Bytes,
}

/// What a false license server answers to messages: after a time, status, media type, body.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) after: Duration,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn of(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            after: Duration::ZERO,
            status: 200,
            headers: vec![("content-type", content_type.to_owned())],
            body: body.into(),
        }
    }
}

impl Double {
    /// One that has the discovery document of `world`'s server, and where it answers.
    pub(crate) async fn new(world: &World) -> (Self, String) {
        let double = Self {
            got: Arc::default(),
            answer: Arc::new(Mutex::new(Reply::of(media_type::LICENSE_RESPONSE, "an answer"))),
            document: world.server.discovery().await.unwrap().into(),
        };
        let router = Router::new().fallback(Self::respond).with_state(double.clone());
        let listener = listener().await;
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (double, url)
    }

    pub(crate) fn answers(&self, reply: Reply) {
        *self.answer.lock().unwrap() = reply;
    }

    /// What came since the last look, without the discoveries.
    pub(crate) fn take(&self) -> Vec<Got> {
        let mut got = core::mem::take(&mut *self.got.lock().unwrap());
        got.retain(|got| got.path != WELL_KNOWN_PATH);
        got
    }

    async fn respond(State(double): State<Self>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let headers = parts.headers.iter();
        let path = parts.uri.to_string();
        double.got.lock().unwrap().push(Got {
            method: parts.method.to_string(),
            path: path.clone(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
            body,
        });
        let reply = if path == WELL_KNOWN_PATH {
            Reply::of(media_type::DISCOVERY, double.document.clone())
        } else {
            double.answer.lock().unwrap().clone()
        };
        tokio::time::sleep(reply.after).await;
        let mut response = (StatusCode::from_u16(reply.status).unwrap(), reply.body).into_response();
        response.headers_mut().clear();
        for (name, value) in reply.headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }
}

/// What a raw license server does with a connection after it has read a request: the number of the
/// connection, the number of the request on it.
type Act = dyn Fn(usize, usize, &mut TcpStream) -> bool + Send + Sync;

/// Something that is no good HTTP server: `act` is called for each request and says whether to go on.
pub(crate) fn raw(act: impl Fn(usize, usize, &mut TcpStream) -> bool + Send + Sync + 'static) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let act: Arc<Act> = Arc::new(act);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (act, mut stream) = (Arc::clone(&act), stream.unwrap());
            std::thread::spawn(move || {
                let mut request = 0;
                while read_request(&mut stream) && act(number, request, &mut stream) {
                    request += 1;
                }
                stream.shutdown(Shutdown::Both).ok();
            });
        }
    });
    url
}

/// Reads one request, head and body; false if the connection ended.
fn read_request(stream: &mut TcpStream) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.extend(byte),
            _ => return false,
        }
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).is_ok()
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &value[..]).unwrap_or_default()
    }

    /// The problem document, which must say the status that it came with.
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), media_type::PROBLEM, "{self:?}");
        let problem = Problem::decode(&self.body).unwrap();
        assert_eq!(problem.status, u64::from(self.status));
        problem
    }
}

pub(crate) async fn send(url: String, headers: Vec<(&'static str, String)>, body: Option<Vec<u8>>) -> Answer {
    let exchange = move || {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(30)));
        let agent = ureq::Agent::new_with_config(config.build());
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = agent
            .run(request.body(body.unwrap_or_default()).unwrap())
            .unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
            body: response
                .body_mut()
                .with_config()
                .limit(16 << 20)
                .read_to_vec()
                .unwrap(),
        }
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}
