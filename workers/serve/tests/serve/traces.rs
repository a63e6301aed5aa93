//! A request's trace: the answer is in it, so is what the process logs of it, and the spans that are sent of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A server whose Redis is away, and its port.
fn serve(variables: &[(&str, &str)]) -> (Child, u16) {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let [port, admin, redis] = [free(), free(), free()];
    let server = Command::new(env!("CARGO_BIN_EXE_featuremill-serve"))
        .args(["--architecture-uid=arch", "--drain-delay-ms=0", &format!("--redis-url=redis://127.0.0.1:{redis}")])
        .args([format!("--listen=127.0.0.1:{port}"), format!("--admin=127.0.0.1:{admin}")])
        .env("RUST_LOG", "serve=debug")
        .envs(variables.iter().copied())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (server, port)
}

/// The `traceparent` of the answer to a request that cannot be answered.
async fn traced(port: u16, header: &str) -> String {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let body = r#"{"features":["v:x"],"entities":{"u":["1"]}}"#;
    let head = "POST /get-online-features HTTP/1.1\r\nhost: t\r\nconnection: close";
    let request = format!("{head}\r\n{header}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix("traceparent: "));
    line.unwrap_or_else(|| panic!("no traceparent in {answer}")).to_owned()
}

/// An OpenTelemetry collector's port, as far as one process needs it: every request's path and body.
fn collector() -> (u16, Receiver<(String, Json)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            loop {
                let (mut path, mut length, mut line) = (String::new(), 0, String::new());
                while stream.read_line(&mut line).unwrap_or(0) > 2 {
                    if path.is_empty() {
                        line.split(' ').nth(1).unwrap().clone_into(&mut path);
                    }
                    let header = line.to_ascii_lowercase();
                    if let Some(value) = header.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    assert!(!header.starts_with("content-type:") || header.contains("application/json"), "{header}");
                    line.clear();
                }
                if path.is_empty() {
                    break;
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
                if told.send((path, serde_json::from_slice(&body).unwrap())).is_err() {
                    return;
                }
            }
        }
    });
    (port, requests)
}

#[tokio::test]
async fn a_request_in_a_trace_becomes_spans_in_that_trace() {
    let (collecting, requests) = collector();
    let (mut server, port) = serve(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://127.0.0.1:{collecting}")),
        ("OTEL_SERVICE_NAME", "shop-server"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    ]);
    // Neither what the caller does not send is sent, nor what nobody decided on.
    let unsent = format!("traceparent: 00-{}-{SPAN}-00\r\n", TRACE.replace('4', "5"));
    assert!(traced(port, "").await.ends_with("-00") && traced(port, &unsent).await.ends_with("-00"));
    let answer = traced(port, &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n")).await;
    let mut spans: Vec<Json> = Vec::new();
    while !spans.iter().any(|span| span["kind"] == 2) {
        let (path, body) = requests.recv_timeout(Duration::from_mins(1)).unwrap();
        assert_eq!(path, "/v1/traces");
        let resource = &body["resourceSpans"][0];
        let name = json!({"key": "service.name", "value": {"stringValue": "shop-server"}});
        assert!(resource["resource"]["attributes"].as_array().unwrap().contains(&name), "{body}");
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned());
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(spans.iter().all(|span| span["traceId"] == TRACE), "{spans:?}");
    let of = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{name}: {spans:?}"));
    let (request, fetch) = (of("POST /get-online-features"), of("fetch"));
    assert_eq!((&request["parentSpanId"], &request["status"]["code"]), (&json!(SPAN), &json!(2)));
    assert!(answer.contains(request["spanId"].as_str().unwrap()), "{answer}");
    assert_eq!((&fetch["parentSpanId"], &fetch["kind"]), (&request["spanId"], &json!(1)));
    let time = |span: &Json, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(time(request, "startTimeUnixNano") <= time(fetch, "startTimeUnixNano"));
    assert!(time(fetch, "endTimeUnixNano") <= time(request, "endTimeUnixNano"));
}

#[tokio::test]
async fn a_request_is_answered_and_logged_of_in_its_trace() {
    let (mut server, port) = serve(&[]);
    let given = traced(port, &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n")).await;
    let own = traced(port, "").await;
    let broken = traced(port, "traceparent: nonsense\r\n").await;
    server.kill().unwrap();
    let mut log = String::new();
    server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    server.wait().unwrap();

    assert!(given.starts_with(&format!("00-{TRACE}-")) && given.ends_with("-01") && !given.contains(SPAN), "{given}");
    let [one, other] = [&own, &broken].map(|header| header.split('-').nth(1).unwrap());
    assert!(one != other && [one, other].iter().all(|id| id.len() == 32 && *id != TRACE), "{own} {broken}");
    assert!(log.contains(r#""level":"WARN""#) && log.contains("a request was not answered"), "{log}");
    let lines: Vec<Json> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for header in [&given, &own, &broken] {
        let [_, trace, span, _] = header.split('-').collect::<Vec<_>>().try_into().unwrap();
        let of_it = lines.iter().filter(|line| line["trace_id"] == trace && line["span_id"] == span);
        assert_eq!(of_it.filter(|line| line["code"] == 503).count(), 1, "{header} in\n{log}");
    }
}
