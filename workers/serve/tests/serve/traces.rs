//! A request's trace: the answer is in it, and so is what the process logs of it.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// The header of an answer to a request for nothing that there is.
async fn traced(port: u16, header: &str) -> String {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let body = r#"{"features":["v:x"],"entities":{"u":["1"]}}"#;
    let head = format!(
        "POST /get-online-features HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{header}content-length: {}",
        body.len()
    );
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix("traceparent: "));
    line.unwrap_or_else(|| panic!("no traceparent in {answer}")).to_owned()
}

#[tokio::test]
async fn a_request_is_answered_and_logged_of_in_its_trace() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let [port, admin, redis] = [free(), free(), free()];
    let mut server = Command::new(env!("CARGO_BIN_EXE_featuremill-serve"))
        .args([
            "--architecture-uid",
            "arch",
            "--drain-delay-ms",
            "0",
            &format!("--redis-url=redis://127.0.0.1:{redis}"),
        ])
        .args([format!("--listen=127.0.0.1:{port}"), format!("--admin=127.0.0.1:{admin}")])
        .env("RUST_LOG", "serve=debug")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let given = traced(port, &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n")).await;
    let own = traced(port, "").await;
    let broken = traced(port, "traceparent: nonsense\r\n").await;
    server.kill().unwrap();
    let mut log = String::new();
    server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    server.wait().unwrap();

    assert!(given.starts_with(&format!("00-{TRACE}-")) && given.ends_with("-01") && !given.contains(SPAN), "{given}");
    let ids: Vec<&str> = [&own, &broken].map(|header| header.split('-').nth(1).unwrap()).to_vec();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 32 && *id != TRACE), "{own} {broken}");
    assert!(log.contains(r#""level":"WARN""#) && log.contains("a request was not answered"), "{log}");
    let lines: Vec<Json> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for header in [&given, &own, &broken] {
        let [_, trace, span, _] = header.split('-').collect::<Vec<_>>().try_into().unwrap();
        let of_it = lines.iter().filter(|line| line["trace_id"] == trace && line["span_id"] == span);
        let told: Vec<&Json> = of_it.filter(|line| line["code"] == 503).collect();
        assert!(told.len() == 1, "{header} in\n{log}");
    }
}
