//! A webhook that is down, slow, crowded, or not the one that is believed.

use super::*;

#[tokio::test]
async fn whatever_goes_wrong_denies() {
    let elsewhere = Service::new(|question| Reply::Json(reply(question, json!([grant(&KID)])))).await;
    let location = format!("http://{}/ask", elsewhere.address);
    let raw = |status: StatusCode, media_type: &'static str, body: String| {
        Reply::Raw((status, [(header::CONTENT_TYPE, media_type)], body).into_response())
    };
    let good = |question: &Value| reply(question, json!([grant(&KID)]));
    type Answer = Box<dyn Fn(&Value) -> Reply + Send + Sync>;
    let with = |change: fn(&mut Value)| -> Answer {
        Box::new(move |question| {
            let mut answer = reply(question, json!([grant(&KID)]));
            change(&mut answer);
            Reply::Json(answer)
        })
    };
    let answers: Vec<(&str, Answer)> = vec![
        ("silence", Box::new(|_| Reply::Silence)),
        (
            "a redirect",
            Box::new(move |_| {
                let to = [(header::LOCATION, location.clone())];
                Reply::Raw((StatusCode::TEMPORARY_REDIRECT, to).into_response())
            }),
        ),
        (
            "a failure",
            Box::new(move |q| {
                raw(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "application/json",
                    good(q).to_string(),
                )
            }),
        ),
        (
            "another success",
            Box::new(move |q| raw(StatusCode::CREATED, "application/json", good(q).to_string())),
        ),
        (
            "another type",
            Box::new(move |q| raw(StatusCode::OK, "text/html", good(q).to_string())),
        ),
        (
            "garbage",
            Box::new(move |_| raw(StatusCode::OK, "application/json", "no json".to_owned())),
        ),
        (
            "more than json",
            Box::new(move |q| raw(StatusCode::OK, "application/json", format!("{} x", good(q)))),
        ),
        (
            "too much",
            Box::new(move |q| {
                raw(
                    StatusCode::OK,
                    "application/json",
                    format!("{}{}", good(q), " ".repeat(70_000)),
                )
            }),
        ),
        (
            "compressed",
            Box::new(move |q| {
                let headers = [
                    (header::CONTENT_TYPE, "application/json"),
                    (header::CONTENT_ENCODING, "gzip"),
                ];
                Reply::Raw((headers, good(q).to_string()).into_response())
            }),
        ),
        (
            "without end",
            Box::new(|_| {
                let headers = [
                    (header::CONTENT_TYPE, "application/json"),
                    (header::CONTENT_LENGTH, "1000"),
                ];
                Reply::Raw((headers, Body::new(Endless)).into_response())
            }),
        ),
        (
            "another request",
            with(|answer| answer["request"] = "00".repeat(32).into()),
        ),
        ("unknown names", with(|answer| answer["everything"] = true.into())),
        (
            "another key id",
            with(|answer| answer["keys"][0]["kid"] = "33".repeat(16).into()),
        ),
        (
            "no key id",
            with(|answer| answer["keys"][0]["kid"] = "all".into()),
        ),
        (
            "twice",
            with(|answer| answer["keys"] = json!([answer["keys"][0], answer["keys"][0]])),
        ),
        ("neither", with(|answer| answer["keys"][0]["grant"] = Value::Null)),
        (
            "under nothing",
            with(|answer| answer["keys"][0]["grant"] = json!({})),
        ),
        (
            "under two",
            with(|answer| answer["keys"][0]["grant"]["entitlement"] = true.into()),
        ),
        ("no base64", with(|answer| answer["custom_data"] = "a b".into())),
        (
            "an unknown reason",
            with(|answer| {
                answer["keys"][0] =
                    json!({ "kid": KID.to_string(), "deny": { "reason": "busy", "sentence": "" } })
            }),
        ),
    ];
    for (what, answer) in answers {
        let service = Service::new(answer).await;
        // The rows would grant: they are not asked when the one before them fails.
        let world = service
            .world("[\"webhook\", \"rows\"]", "timeout_milliseconds = 1000")
            .await;
        let mut device = world.device(3).await;
        let response = ask(&world, &mut device, &[KID], None).await.unwrap();
        let denial = denied(&response);
        assert_eq!((denial.code, denial.url), (BUSY, None), "{what}");
        assert!(
            denial.sentence.contains("cannot be asked"),
            "{what}: {}",
            denial.sentence
        );
        assert_eq!(
            (service.asked(), world.count("SELECT count(*) FROM issued").await),
            (1, 0),
            "{what}"
        );
    }
    assert_eq!(
        elsewhere.asked(),
        0,
        "nobody is called whom the configuration does not name"
    );
}

#[tokio::test]
async fn a_webhook_that_is_down_denies_and_is_left_alone_until_a_pause_is_over() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let section = format!(
        "[authorization.webhook]\nurl = \"http://{address}/ask\"\nsecret_file = \"webhook.secret\"\n"
    );
    let world = world("[\"webhook\"]", &section, &[("webhook.secret", SECRET)]).await;
    let mut device = world.device(3).await;
    for _ in 0..5 {
        let response = ask(&world, &mut device, &[KID], None).await.unwrap();
        assert_eq!(denied(&response).code, BUSY);
    }
    // Somebody is there now, and nobody is asked.
    let listener = TcpListener::bind(address).await.unwrap();
    let response = ask(&world, &mut device, &[KID], None).await.unwrap();
    assert_eq!(denied(&response).code, BUSY);
    let accepted =
        core::future::poll_fn(|context| core::task::Poll::Ready(listener.poll_accept(context).is_ready()));
    assert!(!accepted.await, "no connection was made");
}

/// Nobody is denied because of what another device asked.
#[tokio::test]
async fn a_webhook_that_refuses_some_is_asked_about_the_others() {
    let service = Service::new(|question| {
        if question["custom_data"] == "eA" {
            return Reply::Raw(StatusCode::BAD_REQUEST.into_response());
        }
        Reply::Json(reply(question, json!([grant(&KID)])))
    })
    .await;
    let world = service.world("[\"webhook\"]", "").await;
    let (mut nuisance, mut device) = (world.device(3).await, world.device(4).await);
    let recipient = world.recipient().await;
    for _ in 0..7 {
        let mut body = nuisance.request(&recipient, &[KID]);
        body.custom_data = Some(Data(b"x".to_vec()));
        let response = nuisance.ask(&world, &body).await.unwrap();
        assert_eq!(denied(&response).code, BUSY);
    }
    let response = ask(&world, &mut device, &[KID], None).await.unwrap();
    licensed(&world, &device, &response.results[0]);
    assert_eq!(service.asked(), 8);
}

#[tokio::test]
async fn no_more_questions_are_asked_at_a_time_than_may_be() {
    let service = Service::new(|question| Reply::Later(reply(question, json!([grant(&KID)])))).await;
    let world = service
        .world("[\"webhook\"]", "concurrent = 2\ntimeout_milliseconds = 10000")
        .await;
    let recipient = world.recipient().await;
    let mut asking = Vec::new();
    for seed in 10..15 {
        let mut device = world.device(seed).await;
        let body = device.request(&recipient, &[KID]);
        let sealed = device.seal(&recipient, Suite::P256, &body);
        let server = world.server.clone();
        asking.push(tokio::spawn(async move { server.issue(&sealed).await }));
    }
    // As many as may be are asked at the same time before the first is answered.
    while service.shared.most.load(Ordering::SeqCst) < 2 {
        assert!(
            asking.iter().all(|task| !task.is_finished()),
            "one was answered before two were asked at a time"
        );
        tokio::time::sleep(core::time::Duration::from_millis(1)).await;
    }
    let mut left = asking.len();
    while left > 0 {
        // Whoever waits is let go; who comes later gets the next turn.
        service.shared.go.notify_one();
        tokio::task::yield_now().await;
        left = asking.iter().filter(|task| !task.is_finished()).count();
    }
    for task in asking {
        task.await.unwrap().unwrap();
    }
    assert_eq!(
        (service.asked(), service.shared.most.load(Ordering::SeqCst)),
        (5, 2)
    );
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 5);
}

/// A body that never comes.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = core::convert::Infallible;

    fn poll_frame(
        self: core::pin::Pin<&mut Self>,
        _: &mut core::task::Context<'_>,
    ) -> core::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        core::task::Poll::Pending
    }
}

/// A listener over TLS.
struct Tls(TcpListener, TlsAcceptor);

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.0.accept().await.unwrap();
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[tokio::test]
async fn over_tls_the_webhook_must_be_the_one_that_is_believed() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.try_into().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Tls(listener, TlsAcceptor::from(Arc::new(config.unwrap())));
    let service = Service::at(tls, address, |question| {
        Reply::Json(reply(question, json!([grant(&KID)])))
    });
    let believed = made.cert.pem();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (host, authorities, granted) in [
        ("localhost", &believed, true),
        ("127.0.0.1", &believed, false),
        ("localhost", &other.cert.pem(), false),
    ] {
        let section = format!(
            "[authorization.webhook]\nurl = \"https://{host}:{}/ask\"\nsecret_file = \"webhook.secret\"\n\
             authorities_file = \"authorities.pem\"\n",
            address.port()
        );
        let files = [
            ("webhook.secret", SECRET),
            ("authorities.pem", authorities.as_bytes()),
        ];
        let world = world("[\"webhook\"]", &section, &files).await;
        let mut device = world.device(3).await;
        let response = ask(&world, &mut device, &[KID], None).await.unwrap();
        let code = response.results[0].denial.as_ref().map(|denial| denial.code);
        assert_eq!(code, (!granted).then_some(BUSY), "{host}");
    }
    assert_eq!(service.asked(), 1);
}
