//! TLS and SASL to Kafka, TLS and AUTH to Redis, as mounted Secrets give them; and what a worker says of a wrong one.

use std::path::{Path, PathBuf};

use e2e::services::{Directory, Kafka, Redis, free_ports};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::world::{Chance, TOPIC, World, events, now, record};

const KAFKA_PASSWORD: &str = "kafka-hunter2";
const REDIS_PASSWORD: &str = "redis-hunter2";

/// PEM texts of a certificate authority, and of a server at 127.0.0.1 with its key.
struct Certificates {
    authority: String,
    server: String,
    key: String,
}

impl Certificates {
    fn make() -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Were both called the same, the server's would look as if it had signed itself.
        authority.distinguished_name.push(DnType::CommonName, "authority");
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        Self { authority: authority_pem, server: server.pem(), key: key.serialize_pem() }
    }
}

/// A broker that speaks to nobody without TLS and a password.
async fn kafka(certificates: &Certificates) -> Kafka {
    let line = |pem: &str| pem.trim().replace('\n', "\\n");
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let properties = format!(
        "listener.security.protocol.map=CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT\n\
        sasl.enabled.mechanisms=PLAIN\nsasl.mechanism.inter.broker.protocol=PLAIN\n\
        listener.name.client.plain.sasl.jaas.config={module} required username=\"worker\" \
        password=\"{KAFKA_PASSWORD}\" user_worker=\"{KAFKA_PASSWORD}\";\n\
        ssl.keystore.type=PEM\nssl.keystore.certificate.chain={}\nssl.keystore.key={}\n\
        ssl.truststore.type=PEM\nssl.truststore.certificates={}\n",
        line(&certificates.server),
        line(&certificates.key),
        line(&certificates.authority),
    );
    let client = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "worker"),
        ("sasl.password", KAFKA_PASSWORD),
        ("ssl.ca.pem", &certificates.authority),
    ];
    Kafka::start_with(&properties, &client).await.unwrap()
}

/// A Redis with a TLS port for user `worker`, and its URL. The harness uses the other port and the default user.
async fn redis(certificates: &Certificates, directory: &Path) -> (Redis, String) {
    let file = |name: &str, content: &str| {
        std::fs::write(directory.join(name), content).unwrap();
        directory.join(name).to_str().unwrap().to_owned()
    };
    let (ca, cert) = (file("ca.crt", &certificates.authority), file("tls.crt", &certificates.server));
    let key = file("tls.key", &certificates.key);
    let [port] = free_ports().unwrap();
    let rights = documented_rights();
    let users = format!("user worker on >{REDIS_PASSWORD} ~* -@all {rights}\nuser default on nopass ~* &* +@all\n");
    let users = file("users.acl", &users);
    let settings = [
        ("appendonly", "yes"),
        ("tls-port", &port.to_string()),
        ("tls-ca-cert-file", &ca),
        ("tls-cert-file", &cert),
        ("tls-key-file", &key),
        ("tls-auth-clients", "no"),
        ("aclfile", &users),
    ];
    (Redis::start_with(&settings).await.unwrap(), format!("rediss://127.0.0.1:{port}"))
}

/// What the operations guide says an account of Redis must be allowed.
fn documented_rights() -> String {
    let guide = include_str!("../../../../docs/operations.md");
    let list = guide.split("every key; `").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    list.split(' ').map(|command| format!("+{}", command.to_lowercase())).collect::<Vec<_>>().join(" ")
}

/// A folder as a Secret is mounted: a file for each setting.
fn secret(at: PathBuf, settings: &[(&str, &str)]) -> PathBuf {
    std::fs::create_dir_all(&at).unwrap();
    for (name, value) in settings {
        std::fs::write(at.join(name), value).unwrap();
    }
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_used_and_wrong_ones_are_told_without_showing_them() {
    let (certificates, directory) = (Certificates::make(), Directory::new("secure").unwrap());
    let (kafka, (redis, url)) = tokio::join!(kafka(&certificates), redis(&certificates, directory.path()));
    let mut world = World::over(kafka, redis, 2).await;
    world.redis_url = Some(url);
    let folder = |name: &str| directory.path().join(name);
    let kafka_secret = |name: &str, password: &str| {
        let ca = certificates.authority.as_str();
        let protocol = [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), ("ssl.ca.pem", ca)];
        let account = [("sasl.username", "worker"), ("sasl.password", password)];
        secret(folder(name), &[protocol.as_slice(), account.as_slice()].concat())
    };
    let redis_secret = |name: &str, password: &str| {
        let ca = certificates.authority.as_str();
        secret(folder(name), &[("username", "worker"), ("password", password), ("ca.crt", ca)])
    };
    let arguments = |kafka: &Path, redis: &Path| {
        vec!["--kafka-config-dir".into(), kafka.into(), "--redis-config-dir".into(), redis.into()]
    };
    let (right_kafka, right_redis) = (kafka_secret("k", KAFKA_PASSWORD), redis_secret("r", REDIS_PASSWORD));

    world.arguments = arguments(&right_kafka, &right_redis);
    let mut worker = world.worker("right");
    let (mut chance, now) = (Chance(3), now());
    let all = events(&mut chance, 2_000, 100, now);
    let records = all.iter().enumerate().map(|(i, event)| record(event, i32::try_from(i % 2).unwrap(), now));
    world.kafka.produce(TOPIC, records.collect::<Vec<_>>()).await.unwrap();
    worker.ready().await;
    world.until_read(2_000).await;
    world.assert_equal(&all, now).await;
    let clients: String = world.redis.command(&["CLIENT", "LIST"]).await.unwrap();
    assert!(clients.contains("user=worker"), "{clients}");
    worker.process.kill().await.unwrap();

    world.arguments = arguments(&kafka_secret("k-wrong", "kafka-guess"), &right_redis);
    let mut wrong = world.worker("wrong-kafka");
    wrong.unready("Invalid username or password").await;
    wrong.process.kill().await.unwrap();
    world.arguments = arguments(&right_kafka, &redis_secret("r-wrong", "redis-guess"));
    let mut wrong = world.worker("wrong-redis");
    wrong.unready("Password authentication failed").await;
    wrong.process.kill().await.unwrap();

    for log in ["right", "wrong-kafka", "wrong-redis"] {
        let text = std::fs::read_to_string(world.directory.path().join(format!("{log}.log"))).unwrap();
        assert!(!text.is_empty());
        for secret in [KAFKA_PASSWORD, REDIS_PASSWORD, "kafka-guess", "redis-guess"] {
            assert!(!text.contains(secret), "{log} shows {secret}");
        }
    }
}
