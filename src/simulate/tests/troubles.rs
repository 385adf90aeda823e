//! Each trouble, as a client sees it.

use super::*;

async fn stream(engine: &Engine, trouble: &str) -> (StatusCode, String, bool) {
    let options = json!({"include_usage": true});
    let body = json!({"stream": true, "max_tokens": 6, "stream_options": options, "simulate": trouble});
    read(send(engine, CHAT, &chat(body)).await).await
}

#[tokio::test]
async fn a_cut_breaks_the_body_inside_an_event() {
    let engine = engine();
    let (_, text, clean) = stream(&engine, "cut:2").await;
    assert!(
        !clean && !text.ends_with('\n') && !text.contains("[DONE]"),
        "{text}"
    );
    let whole_events = text.rsplit_once("\n\n").unwrap().0;
    assert_eq!(events(whole_events).len(), 3);
    let count = only(&engine);
    assert!(count.broken && !count.aborted && !count.finished);
    assert_eq!(count.completion_tokens, 2);

    let (_, text, clean) = read(send(&engine, CHAT, &chat(json!({"simulate": "cut:2"}))).await).await;
    assert!(!clean && serde_json::from_str::<Value>(&text).is_err());
}

#[tokio::test]
async fn a_stall_is_silence_until_the_client_leaves() {
    let engine = engine();
    let stalled = tokio::time::timeout(Duration::from_millis(20), stream(&engine, "stall:3")).await;
    assert!(stalled.is_err());
    let count = only(&engine);
    assert!(count.aborted);
    assert_eq!((count.completion_tokens, engine.in_flight()), (3, 0));
    for trouble in ["hang", "headers-then-silence"] {
        assert!(
            tokio::time::timeout(Duration::from_millis(20), stream(&engine, trouble))
                .await
                .is_err()
        );
    }
    assert!(engine.counts().iter().all(|count| count.aborted));
}

#[tokio::test]
async fn events_that_are_wrong_or_missing() {
    let engine = engine();
    let (_, text, clean) = stream(&engine, "error-event:2").await;
    assert!(clean && text.contains("data: {\"error\":{") && !text.contains("[DONE]"));
    let (_, text, _) = stream(&engine, "error-event-done:2").await;
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert!(
        engine
            .counts()
            .iter()
            .all(|count| count.broken && count.completion_tokens == 2)
    );

    let (_, text, _) = stream(&engine, "malformed:2").await;
    assert!(text.contains("\"content\":\n\n") && text.contains("[DONE]"));
    let (_, text, _) = stream(&engine, "no-done").await;
    assert!(text.contains("\"length\"") && !text.contains("[DONE]"));
    let (_, text, _) = stream(&engine, "no-finish").await;
    assert!(!text.contains("\"length\"") && text.contains("[DONE]"));
    assert!(
        engine.counts()[2..]
            .iter()
            .all(|count| count.finished && count.completion_tokens == 6)
    );
}

#[tokio::test]
async fn usage_comes_twice_never_or_with_the_finish() {
    let engine = engine();
    let carriers = async |trouble| {
        let (_, text, _) = stream(&engine, trouble).await;
        let events = events(&text);
        let with_usage = events.iter().filter(|event| event.get("usage").is_some());
        with_usage
            .map(|event| event["choices"].as_array().unwrap().len())
            .collect::<Vec<_>>()
    };
    assert_eq!(carriers("usage-twice").await, [0, 0]);
    assert_eq!(carriers("usage-missing").await, [0usize; 0]);
    assert_eq!(carriers("usage-on-finish").await, [1]);
}

#[tokio::test]
async fn framings_change_the_bytes_and_not_the_words() {
    let engine = engine();
    let (_, plain, _) = stream(&engine, "no-done").await;
    let expected = content(&events(&plain), 0);
    for trouble in [
        "crlf",
        "comments",
        "coalesce",
        "split-utf8",
        "bytewise",
        "oversized-line:9000",
        "multi-token:4",
    ] {
        let (_, text, clean) = stream(&engine, trouble).await;
        assert!(clean);
        assert_eq!(content(&events(&text), 0), expected, "{trouble}");
        let longest = text.lines().map(str::len).max().unwrap();
        assert_eq!(longest == 9000, trouble.starts_with("oversized"), "{longest}");
        assert_eq!(text.contains("\r\n\r\n"), trouble == "crlf");
        assert_eq!(text.contains(": ping\n\n"), trouble == "comments");
        assert_eq!(
            events(&text).len(),
            if trouble == "multi-token:4" { 5 } else { 9 },
            "{trouble}"
        );
    }
    assert!(
        engine
            .counts()
            .iter()
            .all(|count| count.finished && count.completion_tokens == 6)
    );
}

#[tokio::test]
async fn statuses_and_errors_of_other_shapes() {
    let engine = engine();
    let body = chat(json!({"simulate": "status:429:retry-after=2:retry-after-ms=1500"}));
    let response = send(&engine, CHAT, &body).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(response.headers()["retry-after-ms"], "1500");
    let (status, flat) = call(&engine, CHAT, &chat(json!({"simulate": "flat-error"}))).await;
    assert_eq!((status, &flat["code"]), (StatusCode::BAD_REQUEST, &json!(400)));
    let (status, detail) = call(&engine, CHAT, &chat(json!({"simulate": "detail-error"}))).await;
    assert_eq!(
        (status, detail),
        (StatusCode::NOT_FOUND, json!({"detail": "Not Found"}))
    );
    let response = send(&engine, CHAT, &chat(json!({"simulate": "wrong-content-type"}))).await;
    assert_eq!(response.headers()["content-type"], "text/html");
}

#[tokio::test]
async fn a_trouble_may_come_once_by_model_name_or_from_the_engine() {
    let engine = engine();
    let named = chat(json!({"model": "any!once/k1:status:503"}));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(send(&engine, CHAT, &named).await.status().as_u16());
    }
    assert_eq!(statuses, [503, 200, 200]);

    engine.set_trouble(Some("status:500")).unwrap();
    assert!(engine.set_trouble(Some("zut")).is_err());
    assert_eq!(
        send(&engine, CHAT, &chat(json!({}))).await.status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let (status, _, _) = read(send(&engine, "/simulate/trouble", &json!({"trouble": null})).await).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(
        send(&engine, CHAT, &chat(json!({}))).await.status(),
        StatusCode::OK
    );

    read(send(&engine, "/simulate/health", &json!({"healthy": false})).await).await;
    let health = Request::get("/health").body(Body::empty()).unwrap();
    assert_eq!(
        engine.router().oneshot(health).await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

/// Over a socket: what the connection does, which the router alone cannot show.
mod sockets {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;

    async fn serve(engine: &Engine) -> (TcpStream, JoinSet<std::io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(engine.clone().serve(listener, std::future::pending()));
        (TcpStream::connect(address).await.unwrap(), server)
    }

    async fn ask(socket: &mut TcpStream, body: Value) {
        let body = body.to_string();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all((head + &body).as_bytes()).await.unwrap();
    }

    async fn read_all(socket: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = socket.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn a_refused_connection_answers_nothing() {
        let engine = engine();
        let (mut socket, _server) = serve(&engine).await;
        ask(&mut socket, chat(json!({"simulate": "refuse"}))).await;
        assert_eq!(read_all(&mut socket).await, "");
    }

    #[tokio::test]
    async fn what_was_counted_before_a_cut_reaches_the_client() {
        let engine = engine();
        let (mut socket, _server) = serve(&engine).await;
        ask(
            &mut socket,
            chat(json!({"simulate": "cut:40", "stream": true, "max_tokens": 50})),
        )
        .await;
        let text = read_all(&mut socket).await;
        assert_eq!(text.matches("\"delta\":{\"content\":").count(), 40);
        assert_eq!(
            text.matches("data: ").count(),
            42,
            "the role, forty tokens and a part"
        );
        assert!(!text.ends_with("0\r\n\r\n"));
        assert_eq!(only(&engine).completion_tokens, 40);
    }

    #[tokio::test]
    async fn a_client_that_closes_its_socket_stops_the_engine() {
        let engine = Engine::new(Settings {
            decode_rate: 200,
            ..Settings::default()
        });
        for stream in [true, false] {
            let (mut socket, _server) = serve(&engine).await;
            ask(
                &mut socket,
                chat(json!({"stream": stream, "max_tokens": 100_000})),
            )
            .await;
            while engine.in_flight() == 0 {
                tokio::task::yield_now().await;
            }
            drop(socket);
            let left = async {
                while engine.in_flight() > 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), left).await.unwrap();
        }
        assert!(engine.counts().iter().all(|count| count.aborted));
    }

    #[tokio::test]
    async fn pieces_reach_the_socket_one_by_one() {
        let engine = engine();
        let (mut socket, _server) = serve(&engine).await;
        ask(
            &mut socket,
            chat(json!({"simulate": "split-utf8+stall:30", "stream": true, "max_tokens": 31})),
        )
        .await;
        let mut inside_a_character = 0;
        let mut buffer = [0; 4096];
        while let Ok(Ok(length)) =
            tokio::time::timeout(Duration::from_millis(100), socket.read(&mut buffer)).await
        {
            // A chunk of HTTP ends with a line break, after the bytes that it carries.
            let carried = buffer[..length].strip_suffix(b"\r\n").unwrap_or_default();
            inside_a_character += usize::from(std::str::from_utf8(carried).is_err());
        }
        assert!(inside_a_character > 0);
    }
}
