//! A server behind its listener, and answers as they come over the wire.

use core::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use crate::{METERS, common::World};

pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) admin: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let [public, listener] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let admin = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = world.server.clone();
        let task = tokio::spawn(async move {
            let shutdown = async { stopped.await.unwrap_or_default() };
            server.serve(public, listener, shutdown).await.unwrap();
        });
        Self {
            world,
            admin,
            stop,
            task,
        }
    }

    pub(crate) async fn close(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    pub(crate) async fn ask(
        &self,
        method: &'static str,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let url = format!("http://{}{path}", self.admin);
        let token = format!("Bearer {token}");
        let exchange = move || {
            let config = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .allow_non_standard_methods(true)
                .timeout_global(Some(Duration::from_secs(60)));
            let agent = ureq::Agent::new_with_config(config.build());
            let request = ureq::http::Request::builder()
                .method(method)
                .uri(url)
                .header("authorization", token)
                .header("content-type", "application/json");
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            let mut answer = agent.run(request.body(body).unwrap()).unwrap();
            let status = answer.status().as_u16();
            let text = answer
                .body_mut()
                .with_config()
                .limit(64 << 20)
                .read_to_vec()
                .unwrap();
            (status, serde_json::from_slice(&text).unwrap_or(Value::Null))
        };
        tokio::task::spawn_blocking(exchange).await.unwrap()
    }

    /// As the first administrator.
    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask("POST", path, &self.world.admin_token, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, &self.world.admin_token, None).await
    }

    /// Begins a request whose body comes in chunks, and returns the connection.
    pub(crate) async fn begin_stream(&self, operation: &str, token: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let head = format!(
            "POST /exchange-keys/{METERS}/stream/{operation} HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {token}\r\ncontent-type: application/octet-stream\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }
}

pub(crate) async fn send_chunk(
    stream: &mut (impl AsyncWriteExt + Unpin),
    bytes: &[u8],
) -> std::io::Result<()> {
    stream
        .write_all(format!("{:x}\r\n", bytes.len()).as_bytes())
        .await?;
    stream.write_all(bytes).await?;
    stream.write_all(b"\r\n").await
}

/// An answer in chunks, as it comes.
pub(crate) struct Answer<R> {
    pub(crate) stream: R,
    pub(crate) held: Vec<u8>,
}

impl<R: AsyncReadExt + Unpin> Answer<R> {
    pub(crate) async fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.held.extend_from_slice(&buffer[..read]);
        read > 0
    }

    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.held.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.held.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The status, past the head.
    pub(crate) async fn status(&mut self) -> u16 {
        let status = self.line().await.unwrap();
        while self.line().await.is_some_and(|line| !line.is_empty()) {}
        status.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The next chunk; empty at a good end, none where the answer breaks off.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let len = usize::from_str_radix(&self.line().await?, 16).unwrap();
        while self.held.len() < len + 2 {
            if !self.more().await {
                return None;
            }
        }
        let chunk = self.held.drain(..len).collect();
        self.held.drain(..2);
        Some(chunk)
    }
}
