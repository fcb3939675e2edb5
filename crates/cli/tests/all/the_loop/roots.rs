//! What an operator does with roots and channels.

use crate::{the_loop::live::json, world::World};

#[test]
fn roots_and_channels_are_administered() {
    let world = World::new();
    let kid = world.ok(&[
        "admin",
        "root",
        "create",
        "Sports, all",
        "--level",
        "2000",
        "--accompany",
    ]);
    let kid = kid.trim();
    assert_eq!(kid.len(), 32, "{kid}");
    let put = ["admin", "root", "put", "Sports, all", "--content-id", "channel-1"];
    world.ok(&[&put[..], &["--from-period", "10", "--to-period", "20"]].concat());
    world.ok(&["admin", "register-key", "6b5f1c0e9a7d4c2fb3e8d1a09c4f7e25"]);
    world.ok(&[
        "admin",
        "root",
        "put",
        kid,
        "--kid",
        "6b5f1c0e9a7d4c2fb3e8d1a09c4f7e25",
    ]);
    let black_out = [
        "admin",
        "root",
        "blackout",
        "Sports, all",
        "--content-id",
        "channel-1",
    ];
    let made = world.ok(&[
        &["--json"],
        &black_out[..],
        &["--from-period", "12", "--to-period", "13"],
    ]
    .concat());
    let blackout = json(&made)["blackout"].to_string();

    let shown = world.ok(&["admin", "root", "show", "Sports, all"]);
    for expected in [
        "for devices of security level 2000 and above",
        "content \"channel-1\", crypto periods from 10 to below 20",
        "key 6b5f1c0e9a7d4c2fb3e8d1a09c4f7e25",
        "content \"channel-1\", crypto periods from 12 to below 13",
    ] {
        assert!(shown.contains(expected), "{expected}:\n{shown}");
    }
    world.ok(&["admin", "root", "lift-blackout", "Sports, all", &blackout]);
    world.ok(&[
        "admin",
        "root",
        "take",
        "Sports, all",
        "--content-id",
        "channel-1",
    ]);
    let shown = json(&world.ok(&["--json", "admin", "root", "show", kid]));
    assert_eq!(shown["contents"], serde_json::json!([]), "{shown}");
    assert_eq!(shown["blackouts"], serde_json::json!([]), "{shown}");
    assert_eq!(
        json(&world.ok(&["--json", "admin", "root", "list"]))["roots"][0]["kid"],
        kid
    );

    world.ok(&["admin", "grant", "--account", "alice", "--root", "Sports, all"]);
    let granted = world.ok(&["admin", "grants", "alice"]);
    assert!(
        granted.contains(&format!("root {kid} \"Sports, all\"")),
        "{granted}"
    );

    let channel = ["admin", "channel", "create", "channel-1", "--period", "10m"];
    let anchored = [
        &channel[..],
        &["--anchor", "2026-01-01T00:00:00Z", "--renewal-spread", "5m"],
    ]
    .concat();
    world.ok(&anchored);
    let listed = world.ok(&["admin", "channel", "list"]);
    assert!(listed.contains("renewals spread over 5 minutes"), "{listed}");

    let cases: [(&[&str], &str); 5] = [
        (
            &["admin", "root", "show", "nobody"],
            "no root is called \"nobody\"",
        ),
        (&["admin", "root", "create", "Sports, all"], "Sports, all"),
        (
            &["admin", "grant", "--account", "a", "--root", "nobody"],
            "no root is called",
        ),
        (
            &["admin", "root", "take", kid, "--content-id", "absent"],
            "absent",
        ),
        (
            &[
                "admin",
                "channel",
                "create",
                "c",
                "--period",
                "2s",
                "--renewal-spread",
                "10s",
            ],
            "the spread of renewals",
        ),
    ];
    for (args, expected) in cases {
        let said = world.fails("nobody", 1, args);
        assert!(
            said.contains(expected) && said.contains("\nhint: "),
            "{args:?}:\n{said}"
        );
    }
}
