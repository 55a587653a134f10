//! The operator under the memory limit of its chart, while servers of a hostile tenant answer slowly, without an end, or
//! with nonsense, each in another way.

use std::{
    iter::repeat_n,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::support::{
    cluster::{Cluster, operator_kubeconfig},
    fakes::{
        http::Answer,
        vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID},
    },
    limit::Limit,
    process::Process,
    specs,
    verdict::is_ready,
    wait::PATIENCE,
};

/// How many hostile connections of each sort. With 8 sorts: 160.
const OF_EACH: usize = 20;

/// How many are applied at once.
const APPLIED_AT_ONCE: usize = 16;

/// How many checks of the victim are waited for while they do their worst, and how long.
const CHECKS: u64 = 4;
const LONGEST: Duration = Duration::from_secs(90);

/// Promised is a second. A busy machine may take longer, and the kubelet gives up after this.
const PROBE: Duration = Duration::from_secs(5);

/// The chart's `terminationGracePeriodSeconds`.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// How a hostile server answers.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Silence,
    Drip,
    HeaderDrip,
    HeaderBomb,
    Endless,
    Nested,
}

// === impl Behaviour ===

impl Behaviour {
    const ALL: [Self; 6] =
        [Self::Silence, Self::Drip, Self::HeaderDrip, Self::HeaderBomb, Self::Endless, Self::Nested];

    async fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who goes away early is not missed.
                tokio::spawn(async move { self.answer(stream).await.ok() });
            }
        });
        format!("http://{address}")
    }

    async fn answer(self, mut stream: TcpStream) -> std::io::Result<()> {
        let _ = stream.read(&mut [0; 4096]).await?;
        let head = "HTTP/1.1 200 OK\r\n";
        match self {
            Self::Silence => sleep(LONGEST * 2).await,
            Self::Drip => {
                stream.write_all(format!("{head}content-length: 200000\r\n\r\n").as_bytes()).await?;
                drip(&mut stream, b" ").await?;
            }
            Self::HeaderDrip => {
                stream.write_all(head.as_bytes()).await?;
                drip(&mut stream, b"x: y\r\n").await?;
            }
            Self::HeaderBomb => {
                let headers = format!("x: {}\r\n", "y".repeat(1000)).repeat(5000);
                stream.write_all(format!("{head}{headers}\r\n").as_bytes()).await?;
            }
            Self::Endless => {
                stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await?;
                let chunk = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
                loop {
                    stream.write_all(chunk.as_bytes()).await?;
                }
            }
            Self::Nested => {
                let body = format!("{}1{}", "{\"a\":".repeat(40_000), "}".repeat(40_000));
                stream
                    .write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes())
                    .await?;
            }
        }
        Ok(())
    }
}

async fn drip(stream: &mut TcpStream, drop: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(drop).await?;
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_servers_keep_neither_a_victim_nor_a_probe_nor_the_stop_waiting() {
    let (hostile, victim) = (Cluster::new("load").await, Cluster::new("load-victim").await);
    let (limit, vault) = (Limit::of_the_chart(), FakeVault::new().await);
    for cluster in [&hostile, &victim] {
        cluster.secret("credentials", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
    }
    let mut urls = Vec::new();
    for behaviour in Behaviour::ALL {
        urls.extend(repeat_n(behaviour.serve().await, OF_EACH));
    }
    let token = json!({"auth": {"client_token": "t".repeat(200_000), "lease_duration": 3600}});
    let tokens = FakeVault::new().await.that(Ask::Login, Misdeed::Answer(Answer::json(200, &token)));
    let policies: Vec<_> = (0..20_000).map(|number| format!("p{number:05}")).collect();
    let own = json!({"data": {"type": "service", "policies": policies, "ttl": 3600, "renewable": true}});
    let own = FakeVault::new().await.that(Ask::LookupSelf, Misdeed::Answer(Answer::json(200, &own)));
    urls.extend([tokens.url.clone(), own.url.clone()].into_iter().flat_map(|url| repeat_n(url, OF_EACH)));

    let namespaces = [hostile.namespace.as_str(), victim.namespace.as_str()];
    let operator = Process::start_under(&limit, &operator_kubeconfig(), &namespaces).await;
    victim
        .connect("victim", &specs::every_ten_seconds(specs::app_role(&vault.url, "approle", "credentials")))
        .await;
    victim.wait("victim", "Ready", PATIENCE, is_ready).await;
    stream::iter(urls.iter().enumerate())
        .for_each_concurrent(APPLIED_AT_ONCE, async |(number, url)| {
            let spec = specs::every_ten_seconds(specs::app_role(url, "approle", "credentials"));
            hostile.connect(&format!("hostile-{number}"), &spec).await;
        })
        .await;

    let (begin, before) = (Instant::now(), vault.asked_in_all());
    let (mut slowest, mut longest, mut last, mut seen) = (Duration::ZERO, Duration::ZERO, begin, before);
    while seen < before + usize::try_from(CHECKS).expect("a small number") {
        assert!(begin.elapsed() < LONGEST, "the victim is checked in time: {} times", seen - before);
        let asked = Instant::now();
        assert!(operator.is_ready().await, "a probe is answered");
        slowest = slowest.max(asked.elapsed());
        if vault.asked_in_all() > seen {
            seen = vault.asked_in_all();
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        sleep(Duration::from_millis(100)).await;
    }
    let peak = limit.peak(operator.pid);
    victim.wait("victim", "Ready still", PATIENCE, is_ready).await;
    assert_eq!(operator.count("panics_total").await, 0);
    let stopping = Instant::now();
    operator.stop().await;
    let stopped = stopping.elapsed();
    eprintln!(
        "{} MiB of {}; the slowest probe took {slowest:?}, the longest wait for a check was {longest:?}, the stop took {stopped:?}",
        peak >> 20,
        limit.bytes >> 20
    );
    assert!(peak < limit.bytes, "it took {peak} bytes");
    assert!(slowest < PROBE, "a probe took {slowest:?}");
    assert!(stopped < GRACE_PERIOD, "the stop took {stopped:?}");
}
