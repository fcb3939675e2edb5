//! The administration interface over HTTP: keys, operations, streams, and which token permits what.

use core::time::Duration;

use keyward_crypto::exchange::{Algorithm, ExchangeKey, Operation};
use keyward_license::{
    discovery::media_type,
    key_exchange::{Decryptor, Encryptor, Ring},
};
use keyward_server::admin::Scope;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    METERS, new_key, value,
    wire::{Answer, Served, send_chunk},
};
use crate::{common::World, surroundings::configure};

fn ring(key: &ExchangeKey, operation: Operation) -> Ring {
    Ring::new(METERS, None, vec![(1, key.material(operation).unwrap())]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_administered_over_http() {
    let served = Served::new().await;
    let (status, made) = served
        .post(
            "/exchange-keys",
            json!({"name": "meters", "algorithm": "A256GCM", "operation": "decrypt",
                   "context": "dG93bg", "uses": 5, "minimum_security_level": 2000}),
        )
        .await;
    assert_eq!((status, &made["version"]), (201, &json!(1)));
    let kid = made["kid"].as_str().unwrap().to_owned();
    let path = format!("/exchange-keys/{kid}");
    let (status, tags) = served
        .post(
            "/exchange-keys/import",
            json!({"kid": METERS.to_string(), "name": "tags", "algorithm": "HMAC256",
                   "operation": "verify", "beside": kid, "key": "0a".repeat(32)}),
        )
        .await;
    assert_eq!(
        (status, &tags["kid"]),
        (201, &json!(METERS.to_string())),
        "{tags}"
    );
    let rotated = served.post(&format!("{path}/rotate"), json!({})).await;
    assert_eq!(rotated, (201, json!({"version": 2})));
    let taken = json!({"key": "0b".repeat(32)});
    assert_eq!(served.post(&format!("{path}/rotate"), taken).await.0, 201);
    let nothing = (204, Value::Null);
    for (act, body) in [
        ("minimum-version", json!({"version": 2})),
        ("minimum-security-level", json!({"minimum_security_level": null})),
        ("disable", Value::Null),
        ("enable", Value::Null),
        ("destroy", json!({"version": 1})),
    ] {
        assert_eq!(
            served.post(&format!("{path}/{act}"), body).await,
            nothing,
            "{act}"
        );
    }
    let (status, mut shown) = served.get(&path).await;
    assert_eq!(status, 200);
    let versions = shown["versions"].take();
    assert_eq!(
        shown,
        json!({"kid": kid, "name": "meters", "algorithm": "A256GCM", "operation": "decrypt",
               "mirror": "encrypt", "context": "dG93bg", "uses": 5, "minimum_version": 2,
               "minimum_security_level": null, "beside": null, "state": "enabled",
               "created": 1_900_000_000, "versions": null})
    );
    assert_eq!(versions[0]["version"], 3);
    assert_eq!(
        versions[2],
        json!({"version": 1, "created": 1_900_000_000, "destroyed": true, "messages": 0})
    );
    let (status, listed) = served.get("/exchange-keys").await;
    assert_eq!((status, listed.as_array().unwrap().len()), (200, 2));
    assert!(!listed.to_string().contains(&"0a".repeat(8)), "no key in it");
    let destroyed = served
        .post(&format!("{path}/destroy"), json!({"all": true}))
        .await;
    assert_eq!(destroyed, nothing);

    for (path, body, status, code) in [
        ("/exchange-keys", json!({"name": "x"}), 400, 101),
        (
            "/exchange-keys",
            json!({"name": "x", "algorithm": "A192GCM", "operation": "encrypt"}),
            400,
            101,
        ),
        (
            "/exchange-keys",
            json!({"name": "x", "algorithm": "A256GCM", "operation": "sign"}),
            400,
            101,
        ),
        ("/exchange-keys/xyz/rotate", json!({}), 400, 101),
        // What takes a demand away says so.
        (
            &format!("/exchange-keys/{METERS}/minimum-security-level"),
            json!({}),
            400,
            101,
        ),
        (&format!("{path}/rotate"), json!({}), 403, 307),
        (
            &format!("{path}/destroy"),
            json!({"all": true, "version": 1}),
            400,
            101,
        ),
        (
            &format!("/exchange-keys/{}/rotate", "00".repeat(16)),
            json!({}),
            404,
            302,
        ),
        (
            &format!("{path}/perform"),
            json!({"operation": "encrypt", "items": [{"data": "AA", "aad": "dG93bg"}]}),
            403,
            307,
        ),
    ] {
        let (found, problem) = served.post(path, body).await;
        assert_eq!(
            (found, &problem["code"]),
            (status, &json!(code)),
            "{path} {problem}"
        );
        assert!(problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    }
    served.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_performed_over_http() {
    let served = Served::new().await;
    let server = &served.world.server;
    let new = new_key(METERS, Algorithm::A256Gcm, Operation::Decrypt);
    server.import_exchange_key(new, &value(7, 32)).await.unwrap();
    let perform = format!("/exchange-keys/{METERS}/perform");
    let (status, answer) = served
        .post(
            &perform,
            json!({"operation": "encrypt", "items": [{"data": "aGVsbG8"}, {"data": "", "aad": "eA"}]}),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert!(results[0]["result"].as_str().unwrap().starts_with("AAAAA"));
    let (status, answer) = served
        .post(
            &perform,
            json!({"operation": "decrypt", "items": [{"result": "AAAAAQ"}]}),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(answer["results"][0]["error"]["name"], "wrong-operation");
    for body in [
        json!({"operation": "encrypt", "items": [{"result": "AA"}]}),
        json!({"operation": "encrypt", "items": [{"data": "AA", "signature": "AA"}]}),
        json!({"operation": "encrypt", "items": [{"data": "A"}]}),
        json!({"operation": "encrypt", "items": []}),
        json!({"operation": "copy", "items": [{"data": "AA"}]}),
    ] {
        let (status, problem) = served.post(&perform, body).await;
        assert_eq!((status, &problem["code"]), (400, &json!(101)), "{problem}");
    }
    // Eight MiB pass, and no more.
    let large =
        |bytes: usize| json!({"operation": "encrypt", "items": [{"data": "A".repeat(bytes / 3 * 4)}]});
    assert_eq!(served.post(&perform, large((8 << 20) - 2)).await.0, 200);
    let call = || served.post(&perform, large(1 << 20));
    let (one, two, three, four) = tokio::join!(call(), call(), call(), call());
    assert_eq!([one.0, two.0, three.0, four.0], [200; 4]);
    let (status, problem) = served.post(&perform, large((8 << 20) + 2)).await;
    assert_eq!((status, &problem["code"]), (413, &json!(105)));

    let tags = new_key(
        keyward_license::ids::Kid::new([4; 16]),
        Algorithm::Esp256,
        Operation::Sign,
    );
    let kid = server.create_exchange_key(tags).await.unwrap();
    let body = json!({"operation": "verify", "items": [{"data": "AA", "signature": "AAAAAQ"}]});
    let (_, answer) = served.post(&format!("/exchange-keys/{kid}/perform"), body).await;
    assert_eq!(answer, json!({"results": [{"valid": false}]}));

    let (status, uses) = served
        .get(&format!("/exchange-keys/{METERS}/uses?limit=2&before=1000"))
        .await;
    assert_eq!((status, uses.as_array().unwrap().len()), (200, 2));
    let (_, uses) = served.get(&format!("/exchange-keys/{METERS}/uses")).await;
    let first = uses.as_array().unwrap().last().unwrap();
    assert_eq!(first["operation"], "encrypt");
    assert_eq!((&first["items"], &first["failed"]), (&json!(2), &json!(0)));
    assert!(first["caller"].as_str().unwrap().starts_with("admin:"));
    let (status, _) = served.get(&format!("/exchange-keys/{METERS}/uses?limit=x")).await;
    assert_eq!(status, 400);
    let metrics = server.metrics().await.unwrap();
    for line in [
        "keyward_exchange_operations_total{operation=\"encrypt\",outcome=\"ok\"} 7",
        "keyward_exchange_operations_total{operation=\"encrypt\",outcome=\"failed\"} 1",
        "keyward_exchange_operations_total{operation=\"verify\",outcome=\"invalid\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    served.close().await;
}

/// Each route with each kind of token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_permits_what_its_scope_says() {
    let served = Served::new().await;
    let server = &served.world.server;
    let new = new_key(METERS, Algorithm::HmacSha256, Operation::Verify);
    server.create_exchange_key(new).await.unwrap();
    let other = new_key(
        keyward_license::ids::Kid::new([5; 16]),
        Algorithm::HmacSha256,
        Operation::Verify,
    );
    let other = server.create_exchange_key(other).await.unwrap();
    let exposed = |token: keyward_server::token::Token| token.expose().to_owned();
    let read = exposed(server.create_admin_token("reader", Scope::Read).await.unwrap());
    let one = exposed(
        server
            .create_exchange_token("one", Some(vec![METERS]))
            .await
            .unwrap(),
    );
    let revoked = exposed(server.create_exchange_token("revoked", None).await.unwrap());
    server.revoke_exchange_token("revoked").await.unwrap();
    let sign = json!({"operation": "sign", "items": [{"data": "AA"}]});
    let (key, foreign) = (
        format!("/exchange-keys/{METERS}"),
        format!("/exchange-keys/{other}"),
    );
    let new_token = |name: &str| json!({"name": name, "kids": [METERS.to_string()]});
    // Method, path, body, and the statuses for: full, read, exchange, revoked.
    let routes: Vec<(&str, String, Option<Value>, [u16; 4])> = vec![
        ("GET", "/exchange-keys".into(), None, [200, 200, 401, 401]),
        ("GET", key.clone(), None, [200, 200, 401, 401]),
        ("GET", format!("{key}/uses"), None, [200, 200, 401, 401]),
        ("GET", "/exchange-tokens".into(), None, [200, 200, 401, 401]),
        ("GET", "/keys".into(), None, [200, 200, 401, 401]),
        ("GET", "/metrics".into(), None, [200, 200, 401, 401]),
        (
            "POST",
            format!("{key}/perform"),
            Some(sign.clone()),
            [200, 401, 200, 401],
        ),
        (
            "POST",
            format!("{foreign}/perform"),
            Some(sign),
            [200, 401, 401, 401],
        ),
        (
            "POST",
            format!("{key}/rotate"),
            Some(json!({})),
            [201, 401, 401, 401],
        ),
        (
            "POST",
            format!("{key}/minimum-version"),
            Some(json!({"version": 1})),
            [204, 401, 401, 401],
        ),
        (
            "POST",
            format!("{key}/minimum-security-level"),
            Some(json!({"minimum_security_level": null})),
            [204, 401, 401, 401],
        ),
        ("POST", format!("{key}/disable"), None, [204, 401, 401, 401]),
        ("POST", format!("{key}/enable"), None, [204, 401, 401, 401]),
        (
            "POST",
            "/exchange-keys".into(),
            Some(json!({"name": "n", "algorithm": "A128KW", "operation": "wrap"})),
            [201, 401, 401, 401],
        ),
        (
            "POST",
            "/exchange-keys/import".into(),
            Some(json!({"name": "n", "algorithm": "A128KW", "operation": "wrap", "key": "1f".repeat(16)})),
            [201, 401, 401, 401],
        ),
        (
            "POST",
            "/exchange-tokens".into(),
            Some(new_token("fresh")),
            [201, 401, 401, 401],
        ),
        (
            "POST",
            "/exchange-tokens/fresh/revoke".into(),
            None,
            [204, 401, 401, 401],
        ),
        (
            "POST",
            "/exchange-tokens/none/revoke".into(),
            None,
            [404, 401, 401, 401],
        ),
        (
            "POST",
            "/policies".into(),
            Some(json!({"preset": "rental"})),
            [201, 401, 401, 401],
        ),
        ("POST", "/nowhere".into(), None, [404, 401, 401, 401]),
        ("GET", format!("{key}/perform"), None, [404, 404, 401, 401]),
        (
            "POST",
            format!("{key}/destroy"),
            Some(json!({"all": true})),
            [204, 401, 401, 401],
        ),
    ];
    let tokens = [&served.world.admin_token, &read, &one, &revoked];
    for (method, path, body, expected) in routes {
        // The weaker ones first: what they may not do did not happen.
        for (token, expected) in tokens.into_iter().zip(expected).rev() {
            let method = if method == "GET" { "GET" } else { "POST" };
            let (status, answer) = served.ask(method, &path, token, body.clone()).await;
            assert_eq!(status, expected, "{method} {path} {answer}");
        }
    }
    for (operation, expected) in [("sign", [403, 401, 403, 401]), ("encrypt", [403, 401, 403, 401])] {
        for (token, expected) in tokens.into_iter().zip(expected) {
            let stream = served.stream(operation, token, "", "0\r\n\r\n").await;
            let mut answer = Answer {
                stream,
                held: Vec::new(),
            };
            assert_eq!(answer.status().await, expected, "{operation}");
        }
    }
    served.close().await;
}

/// 64 MiB each way, read while it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_data_are_streamed_both_ways_in_flat_memory() {
    const PIECE: usize = 256 * 1024;
    const PIECES: usize = 256;
    let served = Served::new().await;
    let server = &served.world.server;
    let bytes = value(0x42, 32);
    let new = new_key(METERS, Algorithm::A256Gcm, Operation::Decrypt);
    server.import_exchange_key(new, &bytes).await.unwrap();
    let token = server.create_exchange_token("streams", None).await.unwrap();
    let key = ExchangeKey::import(Algorithm::A256Gcm, &bytes).unwrap();
    let stream = served
        .begin_stream("encrypt", token.expose(), "keyward-aad: ZGF5IDE\r\n")
        .await;
    let (reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        let piece = vec![0x5a; PIECE];
        for _ in 0..PIECES {
            send_chunk(&mut writer, &piece).await.unwrap();
        }
        writer.write_all(b"0\r\n\r\n").await.unwrap();
        writer
    });
    let mut answer = Answer {
        stream: reader,
        held: Vec::new(),
    };
    assert_eq!(answer.status().await, 200);
    let client = Decryptor::new(ring(&key, Operation::Decrypt)).unwrap();
    let mut plain = client.stream(b"day 1").unwrap();
    let (mut total, mut largest, mut output) = (0, 0, Vec::new());
    loop {
        let chunk = answer.chunk().await.unwrap();
        if chunk.is_empty() {
            break;
        }
        largest = largest.max(chunk.len());
        plain.update(&chunk, &mut output).unwrap();
        assert!(output.iter().all(|byte| *byte == 0x5a));
        total += output.len();
        output.clear();
    }
    plain.finish(&mut output).unwrap();
    assert_eq!(total + output.len(), PIECE * PIECES);
    assert!(largest <= 256 * 1024, "{largest} bytes left the server at once");
    sending.await.unwrap();
    let uses = server.exchange_uses(METERS, None, 1).await.unwrap();
    assert_eq!(uses[0].bytes, (PIECE * PIECES) as u64);
    assert_eq!(
        (uses[0].outcome.name(), &uses[0].caller[..]),
        ("done", "token:streams")
    );
    served.close().await;
}

/// Its pieces come for longer than its connection and a stop have time together. At the other listener nobody has more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlasts_the_time_of_its_connection() {
    let mut world = World::new().await;
    let short = [
        ("# connection_seconds = 300", "connection_seconds = 1"),
        ("# shutdown_seconds = 10", "shutdown_seconds = 1"),
    ];
    configure(&mut world, &short).await;
    let served = Served::of(world).await;
    let server = &served.world.server;
    let new = new_key(METERS, Algorithm::A256Gcm, Operation::Decrypt);
    server.create_exchange_key(new).await.unwrap();
    let mut slow = TcpStream::connect(served.public).await.unwrap();
    let head = format!(
        "POST /license HTTP/1.1\r\nhost: a\r\ncontent-type: {}\r\ncontent-length: 9\r\n\r\n",
        media_type::LICENSE_REQUEST
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let stream = served
        .begin_stream("encrypt", &served.world.admin_token, "")
        .await;
    let (reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        for _ in 0..8 {
            send_chunk(&mut writer, &[0x5a; 100_000]).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        writer.write_all(b"0\r\n\r\n").await?;
        Ok::<_, std::io::Error>(writer)
    });
    let mut answer = Answer {
        stream: reader,
        held: Vec::new(),
    };
    assert_eq!(answer.status().await, 200);
    let mut total = 0;
    loop {
        match answer.chunk().await.unwrap().len() {
            0 => break,
            more => total += more,
        }
    }
    assert!(total > 800_000);
    sending.await.unwrap().unwrap();
    let uses = server.exchange_uses(METERS, None, 1).await.unwrap();
    assert_eq!(uses[0].outcome.name(), "done");
    // It would be told that its body did not arrive in time.
    let mut told = Vec::new();
    slow.read_to_end(&mut told).await.ok();
    assert_eq!(told, b"");
    served.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decryption_that_fails_late_breaks_the_answer_off_and_early_is_told() {
    let served = Served::new().await;
    let server = &served.world.server;
    let bytes = value(0x42, 32);
    let new = new_key(METERS, Algorithm::A256Gcm, Operation::Encrypt);
    server.import_exchange_key(new, &bytes).await.unwrap();
    let key = ExchangeKey::import(Algorithm::A256Gcm, &bytes).unwrap();
    let client = Encryptor::new(ring(&key, Operation::Encrypt)).unwrap();
    let rng = &mut ChaCha20Rng::from_seed([1; 32]);
    let (mut stream, mut result) = (client.stream(b"", rng).unwrap(), Vec::new());
    stream.update(&vec![0x5a; 500_000], &mut result).unwrap();
    stream.finish(&mut result).unwrap();
    for (place, status, late) in [(450_000, 200, true), (100, 400, false), (2, 400, false)] {
        let mut altered = result.clone();
        altered[place] ^= 0x80;
        let stream = served
            .begin_stream("decrypt", &served.world.admin_token, "")
            .await;
        let (reader, mut writer) = stream.into_split();
        let sending = tokio::spawn(async move {
            for piece in altered.chunks(10_000) {
                // The server may have hung up by now.
                if send_chunk(&mut writer, piece).await.is_err() {
                    return writer;
                }
            }
            writer.write_all(b"0\r\n\r\n").await.ok();
            writer
        });
        let mut answer = Answer {
            stream: reader,
            held: Vec::new(),
        };
        assert_eq!(answer.status().await, status, "{place}");
        if late {
            let mut total = 0;
            while let Some(chunk) = answer.chunk().await {
                assert!(!chunk.is_empty(), "it must not end well");
                assert!(chunk.iter().all(|byte| *byte == 0x5a));
                total += chunk.len();
            }
            assert!(total < 450_000);
        }
        sending.await.unwrap();
        while server.exchange_uses(METERS, None, 1).await.unwrap()[0]
            .outcome
            .name()
            == "begun"
        {
            tokio::task::yield_now().await;
        }
        let uses = server.exchange_uses(METERS, None, 1).await.unwrap();
        assert_eq!(uses[0].outcome.name(), "failed");
    }
    served.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_of_streams_and_what_is_missing_are_told_in_json() {
    let served = Served::new().await;
    let server = &served.world.server;
    let new = new_key(METERS, Algorithm::HmacSha256, Operation::Sign);
    server.create_exchange_key(new).await.unwrap();
    let token = served.world.admin_token.clone();
    let cases = [
        (
            "verify",
            "keyward-signature: AAAAAQ\r\n",
            200,
            Some(r#"{"valid":false}"#),
        ),
        ("verify", "keyward-signature: AA\r\n", 400, None),
        ("verify", "keyward-signature: %\r\n", 400, None),
        ("verify", "", 400, None),
        ("sign", "keyward-aad: AA\r\n", 400, None),
        ("sign", "", 400, None),
        ("wrap", "", 400, None),
        ("copy", "", 400, None),
    ];
    for (operation, headers, status, body) in cases {
        let chunks = "9\r\nsome data\r\n0\r\n\r\n";
        let stream = served.stream(operation, &token, headers, chunks).await;
        let mut answer = Answer {
            stream,
            held: Vec::new(),
        };
        assert_eq!(answer.status().await, status, "{operation} {headers}");
        while answer.more().await {}
        if let Some(body) = body {
            assert_eq!(String::from_utf8_lossy(&answer.held), body);
        }
    }
    served.close().await;
}

/// Before HTTP/1.1, nobody sees that an answer has no end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_need_answers_whose_end_can_be_seen() {
    let served = Served::new().await;
    let new = new_key(METERS, Algorithm::A256Gcm, Operation::Decrypt);
    served.world.server.create_exchange_key(new).await.unwrap();
    for (version, status) in [("1.0", 400), ("1.1", 200)] {
        let mut stream = TcpStream::connect(served.admin).await.unwrap();
        let request = format!(
            "POST /exchange-keys/{METERS}/stream/encrypt HTTP/{version}\r\nhost: localhost\r\n\
             authorization: Bearer {}\r\ncontent-type: application/octet-stream\r\n\
             content-length: 4\r\nconnection: close\r\n\r\ndata",
            served.world.admin_token
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Answer {
            stream,
            held: Vec::new(),
        };
        assert_eq!(answer.status().await, status, "{version}");
    }
    served.close().await;
}
