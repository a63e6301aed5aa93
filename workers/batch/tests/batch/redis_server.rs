//! A real `redis-server` on a free port, without persistence, ended with its guard.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;

/// One running server.
pub struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// Starts a server on a port that was free a moment ago.
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed for this test: apt-get install redis-server");
        let server = Self { child, port };
        let mut tries = 0;
        while server.try_connect().await.is_err() {
            tries += 1;
            assert!(tries < 500, "redis-server does not answer on port {port}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub async fn connect(&self) -> MultiplexedConnection {
        self.try_connect().await.unwrap()
    }

    async fn try_connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let mut connection = redis::Client::open(self.url())?.get_multiplexed_async_connection().await?;
        // Half a second, the default, is not enough for a hundred rows where a cluster is being tested beside this.
        connection.set_response_timeout(Duration::from_mins(1));
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        Ok(connection)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Ends this child alone; an error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
