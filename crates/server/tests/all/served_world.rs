//! A server behind its listeners, and its administration over HTTP.

use core::time::Duration;

use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::common::World;

pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) admin: std::net::SocketAddr,
    pub(crate) public: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn new() -> Self {
        Self::of(World::new().await).await
    }

    pub(crate) async fn of(world: World) -> Self {
        let [public, listener] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let admin = listener.local_addr().unwrap();
        let address = public.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = world.server.clone();
        let task = tokio::spawn(async move {
            let shutdown = async { stopped.await.unwrap_or_default() };
            server.serve(public, listener, shutdown).await.unwrap();
        });
        Self {
            world,
            admin,
            public: address,
            stop,
            task,
        }
    }

    /// The status of an answer to anybody.
    pub(crate) async fn public(&self, path: &str) -> u16 {
        let url = format!("http://{}{path}", self.public);
        let exchange = move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false);
            let agent = ureq::Agent::new_with_config(config.build());
            agent.get(url).call().unwrap().status().as_u16()
        };
        tokio::task::spawn_blocking(exchange).await.unwrap()
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

    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        self.ask("DELETE", path, &self.world.admin_token, None).await
    }
}
