//! Processes: told what they are sent, awaited, and never left behind.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::services::{Directory, Process, Program, ServiceError, Signal, free_ports, until};

const LIMIT: Duration = Duration::from_secs(10);

/// A shell that runs `script`, and the directory of its log.
fn shell(script: &str) -> (Process, Directory) {
    let directory = Directory::new("process").unwrap();
    let process = Program::new("sh").args(["-c", script]).start(directory.path().join("log")).unwrap();
    (process, directory)
}

/// The state of a process as the kernel has it: `None` once it is gone.
fn state(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{id}/stat"))).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

async fn until_gone(id: u32) {
    let gone = async || state(id).filter(|state| *state != 'Z').map_or(Ok(()), |state| Err(state.to_string()));
    until("the end of the process", LIMIT, gone).await.unwrap();
}

#[tokio::test]
async fn signals_reach_it() {
    let (mut process, _directory) = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    let log = process.log().to_path_buf();
    let said =
        async || if std::fs::read_to_string(&log).unwrap().contains("ready") { Ok(()) } else { Err(String::new()) };
    process.until("its word", LIMIT, said).await.unwrap();
    process.signal(Signal::Stop).unwrap();
    let id = process.id();
    until("it to stand", LIMIT, async || if state(id) == Some('T') { Ok(()) } else { Err(String::new()) })
        .await
        .unwrap();
    process.signal(Signal::Continue).unwrap();
    assert_eq!(process.terminate(LIMIT).await.unwrap().code(), Some(7));
    process.signal(Signal::Kill).unwrap();
    assert_eq!(process.wait(LIMIT).await.unwrap().code(), Some(7), "what has ended is sent nothing");
}

#[tokio::test]
async fn one_that_ends_is_not_waited_for() {
    let (mut process, _directory) = shell("echo the last words; exit 3");
    let error = process.until_ok("http://127.0.0.1:1/", LIMIT).await.unwrap_err();
    let ServiceError::Ended { status, log, .. } = error else { panic!("{error}") };
    assert_eq!((status.code(), log.as_str()), (Some(3), "the last words"));
}

#[tokio::test]
async fn what_is_not_answered_in_time_is_an_error() {
    let (mut process, _directory) = shell("exec sleep 60");
    let [port] = free_ports().unwrap();
    let url = format!("http://127.0.0.1:{port}/readyz");
    let error = process.until_ok(&url, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, ServiceError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn readiness_is_a_200() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/readyz", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        for answer in ["503 Service Unavailable", "503 Service Unavailable", "200 OK"] {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 1_024];
            let read = connection.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /readyz "));
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    let (mut process, _directory) = shell("exec sleep 60");
    process.until_ok(&url, LIMIT).await.unwrap();
    server.join().unwrap();
}

#[tokio::test]
async fn dropped_it_is_gone_with_its_files() {
    let (process, directory) = shell("exec sleep 60");
    let (id, path) = (process.id(), directory.path().to_path_buf());
    assert!(state(id).is_some() && path.exists());
    drop((process, directory));
    assert_eq!(state(id), None);
    assert!(!path.exists());
}

/// This test starts itself anew as a process of its own, which starts a child and is killed: the child must go with it.
#[tokio::test]
async fn it_dies_with_a_parent_that_is_killed() {
    const MARK: &str = "FEATUREMILL_TEST_ORPHAN";
    if let Some(file) = std::env::var_os(MARK) {
        let (process, _directory) = shell("exec sleep 60");
        std::fs::write(Path::new(&file).with_extension("new"), process.id().to_string()).unwrap();
        std::fs::rename(Path::new(&file).with_extension("new"), file).unwrap();
        std::future::pending::<()>().await;
    }
    let directory = Directory::new("orphan").unwrap();
    let file = directory.path().join("id");
    let mut parent = Program::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::it_dies_with_a_parent_that_is_killed", "--nocapture"])
        .env(MARK, &file)
        .env("TMPDIR", directory.path())
        .start(directory.path().join("log"))
        .unwrap();
    let read = async || std::fs::read_to_string(&file).map_err(|error| error.to_string());
    let id: u32 = parent.until("the child's id", LIMIT, read).await.unwrap().parse().unwrap();
    assert!(state(id).is_some());
    parent.kill().await.unwrap();
    until_gone(id).await;
}

#[test]
fn a_binary_that_was_not_built_is_named() {
    let error = Program::of_workspace("featuremill-none").unwrap_err().to_string();
    assert!(error.contains("featuremill-none does not exist; run cargo build --bin featuremill-none"), "{error}");
}
