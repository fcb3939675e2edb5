//! License servers that do not answer as they should: each is told apart.

use core::time::Duration;
use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyward_license::{
    discovery::{WELL_KNOWN_PATH, media_type},
    error_code::{ErrorCode, Problem},
};
use keyward_server::proxy::ProxyOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    common::World,
    surroundings::{Answer, Double, Reply, listener, options, proxy, raw},
};

/// What a client gets through a proxy that waits for 300 ms and passes on 4096 bytes.
async fn through(upstream: &str, discover: bool) -> Answer {
    let mut bounded = options(upstream);
    bounded.upstream_limits.answer = Duration::from_millis(300);
    bounded.upstream_limits.answer_bytes = 4096;
    let proxy = proxy(bounded).await;
    let answer = if discover {
        proxy.get(WELL_KNOWN_PATH).await
    } else {
        proxy.post("/license", media_type::LICENSE_REQUEST, vec![1]).await
    };
    proxy.stop().await;
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_license_server_that_is_no_good_is_told_apart() {
    let nobody = format!("http://{}", listener().await.local_addr().unwrap());
    let cut_off = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.keyward.discovery+cose\r\ncontent-length: 9\r\n\r\nabc";
    let dribbling = raw(|_, _, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
            .unwrap();
        (0..99).all(|_| {
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(b"x").is_ok()
        })
    });
    let cases = [
        ("down", nobody, 701),
        ("closes", raw(|_, _, _| false), 701),
        (
            "cuts off",
            raw(move |_, _, stream| stream.write_all(cut_off.as_bytes()).is_err()),
            701,
        ),
        (
            "hangs",
            raw(|_, _, _| {
                std::thread::sleep(Duration::from_secs(2));
                false
            }),
            702,
        ),
        ("dribbles", dribbling, 702),
        (
            "speaks something else",
            raw(|_, _, stream| stream.write_all(b"220 mail.example ESMTP\r\n").is_ok()),
            705,
        ),
    ];
    for (what, upstream, code) in cases {
        for discover in [true, false] {
            let answer = through(&upstream, discover).await;
            let status = if code == 702 { 504 } else { 502 };
            assert_eq!((answer.problem().code, answer.status), (code, status), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_none_is_told_apart() {
    let world = World::new().await;
    let (double, upstream) = Double::new(&world).await;
    let answer = |status, headers: &[(&'static str, &str)], body: &[u8]| Reply {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        ..Reply::of("", body.to_vec())
    };
    let response = ("content-type", media_type::LICENSE_RESPONSE);
    let page = ("content-type", "text/html");
    let problem_type = ("content-type", media_type::PROBLEM);
    let busy = Problem::new(ErrorCode::Busy, "later".to_owned());
    let cases = [
        (answer(200, &[response], &[7; 4096]), None),
        (
            answer(503, &[problem_type, ("retry-after", "1")], &busy.encode()),
            Some(502),
        ),
        (answer(200, &[response], &[7; 4097]), Some(704)),
        (answer(500, &[page], &[7; 5000]), Some(704)),
        (answer(200, &[page], b"<html>"), Some(705)),
        (answer(200, &[], b""), Some(705)),
        (answer(200, &[problem_type], &busy.encode()), Some(705)),
        (
            answer(200, &[response, ("content-encoding", "gzip")], b""),
            Some(705),
        ),
        (answer(204, &[response], b""), Some(705)),
        (
            answer(302, &[("location", "http://evil.example/")], b""),
            Some(705),
        ),
        (answer(404, &[page], b"no such page"), Some(705)),
        (answer(502, &[problem_type], b"no problem"), Some(705)),
    ];
    for (reply, code) in cases {
        double.answers(reply.clone());
        let got = through(&upstream, false).await;
        match code {
            None => assert_eq!((got.status, &got.body[..]), (200, &reply.body[..])),
            Some(502) => {
                assert_eq!((got.status, &got.body[..]), (503, &reply.body[..]));
                assert_eq!(got.header("retry-after"), "1");
            }
            Some(code) => {
                let problem = got.problem();
                assert_eq!(problem.code, code, "{} {:?}", reply.status, reply.headers);
                assert!(
                    code != 705 || problem.detail.contains(&reply.status.to_string()),
                    "{problem:?}"
                );
            }
        }
    }
    // Where the document should be, a message of another kind is none.
    let other = raw(|_, _, stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.keyward.license-response+cbor\r\ncontent-length: 1\r\n\r\nx";
        stream.write_all(head.as_bytes()).is_ok()
    });
    assert_eq!(through(&other, true).await.problem().code, 705);
    // One that the proxy cannot read is the client's to judge, and names no path to carry to.
    let newer = raw(|_, _, stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.keyward.discovery+cose\r\ncontent-length: 5\r\n\r\nnewer";
        stream.write_all(head.as_bytes()).is_ok()
    });
    assert_eq!(through(&newer, true).await.body, b"newer");
    assert_eq!(through(&newer, false).await.problem().code, 705);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_whether_the_license_server_answers() {
    let world = World::new().await;
    let (_, upstream) = Double::new(&world).await;
    let good = proxy(options(&upstream)).await;
    assert_eq!(good.get("/health/ready").await.body, b"ready\n");
    good.stop().await;
    let nobody = format!("http://{}", listener().await.local_addr().unwrap());
    let alone = proxy(options(&nobody)).await;
    assert_eq!(alone.get("/health/live").await.body, b"live\n");
    assert_eq!(alone.get("/health/ready").await.problem().code, 701);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_broke_meanwhile_is_made_anew() {
    let world = World::new().await;
    let document = world.server.discovery().await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // Each connection answers once; a second request finds it closed.
    let upstream = raw(move |_, request, stream| {
        count.fetch_add(1, Ordering::Relaxed);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            media_type::DISCOVERY,
            document.len()
        );
        request == 0 && stream.write_all(head.as_bytes()).is_ok() && stream.write_all(&document).is_ok()
    });
    let proxy = proxy(options(&upstream)).await;
    for _ in 0..3 {
        assert_eq!(proxy.get(WELL_KNOWN_PATH).await.status, 200);
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked > 3, "no request met a connection that had been used before");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_license_server_must_be_the_one_that_is_believed() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.try_into().unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = listener().await;
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            assert!(request[..read].starts_with(b"GET /.well-known/keyward HTTP/1.1\r\n"));
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: 4\r\nconnection: close\r\n\r\ntold",
                media_type::DISCOVERY
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.ok();
        }
    });
    let pem = made.cert.pem();
    for (host, authorities, expected) in [
        ("localhost", Some(&pem), None),
        ("localhost", None, Some(701)),
        ("127.0.0.1", Some(&pem), Some(701)),
    ] {
        let proxy = proxy(ProxyOptions {
            authorities: authorities.map(|pem| pem.clone().into_bytes()),
            ..options(&format!("https://{host}:{port}"))
        })
        .await;
        let answer = proxy.get(WELL_KNOWN_PATH).await;
        match expected {
            None => assert_eq!((answer.status, &answer.body[..]), (200, &b"told"[..])),
            Some(code) => assert_eq!(answer.problem().code, code, "{host}"),
        }
        proxy.stop().await;
    }
}
