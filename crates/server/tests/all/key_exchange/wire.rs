//! Answers as they come over the wire.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::METERS;
pub(crate) use crate::served_world::Served;

impl Served {
    /// Begins a request whose body comes in chunks, and returns the connection.
    pub(crate) async fn begin_stream(&self, operation: &str, token: &str, headers: &str) -> TcpStream {
        self.stream(operation, token, headers, "").await
    }

    /// Sends a request with its body in chunks at once, so that a server that answers to the head has all of it, and
    /// returns the connection.
    pub(crate) async fn stream(
        &self,
        operation: &str,
        token: &str,
        headers: &str,
        chunks: &str,
    ) -> TcpStream {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let head = format!(
            "POST /exchange-keys/{METERS}/stream/{operation} HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {token}\r\ncontent-type: application/octet-stream\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n{headers}\r\n{chunks}"
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
