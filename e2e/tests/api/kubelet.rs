//! The part of a kubelet that answers for logs, and a pod's admin port; for the API server, which asks both.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What is answered to a path with its query: a status and a body.
pub type Answers = Arc<dyn Fn(&str) -> (u16, String) + Send + Sync>;

/// Serves `answers` over TLS, as a kubelet does; the API server does not look at its certificate. Answers the port.
pub async fn kubelet(answers: Answers) -> u16 {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["node".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, answers) = (acceptor.clone(), answers.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, &answers).await;
                }
            });
        }
    });
    port
}

/// Serves `answers` at an address that the API server would proxy to: it refuses this machine's loopback.
pub async fn admin_port(answers: Answers) -> (IpAddr, u16) {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answers = answers.clone();
            tokio::spawn(async move { answer(stream, &answers).await });
        }
    });
    // Nothing is sent: the address is the one from which would be.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("203.0.113.1:9").unwrap();
    (socket.local_addr().unwrap().ip(), port)
}

/// One request, one answer.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answers: &Answers) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let (code, body) = answers(head.split(' ').nth(1).unwrap_or_default());
    let answer = format!("HTTP/1.1 {code} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    // Who asked may be gone.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
