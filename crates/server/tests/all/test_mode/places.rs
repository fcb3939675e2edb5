//! A test operator behind its listener: who waits keeps nobody out.

use std::io;

use keyward_license::discovery::media_type;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::{transcript::exchange, *};

/// A license request, sealed.
async fn sealed(world: &World, device: &mut Device) -> Vec<u8> {
    let body = request(world, device, &[FILM]).await;
    device.seal(&world.recipient().await, Suite::P256, &body)
}

/// Waits for what must come to pass; how fast is not this test's business.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..6000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to pass: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_kept_back_keeps_no_place() {
    let mut world = world().await;
    let path = world.dir().join("operator.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let one = config.replace("# concurrent_requests = 256", "concurrent_requests = 1");
    assert_ne!(one, config);
    std::fs::write(&path, one).unwrap();
    world.reopen().await;
    let (mut waiting, mut other) = (device(&world, 1).await, device(&world, 2).await);
    let [public, admin] = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let address = public.local_addr().unwrap();
    let serving = tokio::spawn(world.server.clone().serve(public, admin, core::future::pending()));

    let body = sealed(&world, &mut waiting).await;
    let kind = media_type::LICENSE_REQUEST;
    let head = format!(
        "POST /license?cfg=(latency:60000) HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(&[head.as_bytes(), &body].concat())
        .await
        .unwrap();
    let recorded = "SELECT count(*) FROM answers";
    until("the answer is made", async || world.count(recorded).await == 1).await;

    // From the record to the end of its work it is in the one place there is.
    let posted = sealed(&world, &mut other).await;
    let mut status = 0;
    let place = until("there is a place", async || {
        let posted = Some((kind, posted.clone()));
        let answer = exchange(&format!("http://{address}"), "/license", posted).await;
        status = answer.status;
        status != 503
    });
    // Half of what the other one waits for.
    let place = tokio::time::timeout(Duration::from_secs(30), place).await;
    assert!(place.is_ok(), "who waits holds the place");
    assert_eq!(status, 200);
    let unread = stream.try_read(&mut [0; 1]).unwrap_err();
    assert_eq!(
        unread.kind(),
        io::ErrorKind::WouldBlock,
        "and the other one waits"
    );
    serving.abort();
}
