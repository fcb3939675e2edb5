//! One kept HTTP/1.1 connection to a server on loopback.

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Outcome;

pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Connects to the authority of `url`.
    pub(crate) async fn open(url: &str) -> Outcome<Self> {
        let uri: Uri = url.parse()?;
        let host = uri.authority().ok_or("a URL without authority")?.to_string();
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host })
    }

    pub(crate) async fn get(&mut self, url: &str) -> Outcome<Bytes> {
        let request = Request::get(path(url)?).header(header::HOST, &self.host);
        self.send(request.body(Full::default())?).await
    }

    pub(crate) async fn post(&mut self, url: &str, media_type: &str, body: Bytes) -> Outcome<Bytes> {
        let request = Request::post(path(url)?)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, media_type);
        self.send(request.body(Full::new(body))?).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Outcome<Bytes> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        match status {
            StatusCode::OK => Ok(body),
            status => Err(format!("the server answered {status}").into()),
        }
    }
}

fn path(url: &str) -> Outcome<String> {
    Ok(url.parse::<Uri>()?.path().to_owned())
}
