//! The system allows fewer open files than the configuration wants connections. A test program of its own,
//! because the limit is the whole process's, which the program of all others shares.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that calls them"
)]

#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "all/common.rs"]
mod common;
#[path = "all/surroundings.rs"]
#[expect(dead_code, reason = "the tests of the proxy use the rest")]
mod surroundings;

use common::World;
use keyward_license::discovery::WELL_KNOWN_PATH;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use surroundings::license_server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_system_does_not_allow_shuts_nobody_out() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let allow = |files, hard| {
        let limit = Rlimit {
            current: Some(files),
            maximum: hard,
        };
        setrlimit(Resource::Nofile, limit).unwrap();
    };
    // The soft limit is raised as far as it must be.
    allow(500, hard);
    let mut world = World::new().await;
    let silence = [("# arrival_seconds = 15", "arrival_seconds = 300")];
    let server = license_server(&mut world, &silence).await;
    assert_eq!(server.get(WELL_KNOWN_PATH).await.status, 200);
    let needed = 2 * 1024 + 128;
    assert_eq!(
        getrlimit(Resource::Nofile).current,
        Some(hard.map_or(needed, |hard| hard.min(needed)))
    );
    server.stop().await;

    // If it cannot be, there are fewer connections, and the silent ones give way: (500 - 128) / 2 of them.
    allow(500, Some(500));
    let server = license_server(&mut world, &[]).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(tokio::net::TcpStream::connect(server.address()).await.unwrap());
    }
    for _ in 0..3 {
        assert_eq!(server.get(WELL_KNOWN_PATH).await.status, 200);
    }
    let counted = world.server.metrics().await.unwrap();
    let counted = |sample: &str| {
        let value = counted.lines().find_map(|line| line.strip_prefix(sample));
        value.unwrap().trim().parse::<u32>().unwrap()
    };
    assert!(counted(r#"keyward_connections{listener="public"}"#) <= 186);
    // 200 and three came, 186 had a place.
    let silent_ones = counted(r#"keyward_connections_closed_total{listener="public",reason="silent"}"#);
    assert!(silent_ones >= 14, "{silent_ones}");
    drop(silent);
    server.stop().await;
}
