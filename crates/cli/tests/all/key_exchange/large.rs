//! A GiB, in memory that does not grow: from a pipe, through the device, through the operator.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Stdio},
    thread,
};

use crate::{
    key_exchange::{create, device, enrolled, operator},
    world::World,
};

const GIB: usize = 1 << 30;
/// What a process may have had in memory at most: an eighth of what comes, the program (50 MiB unoptimised) included.
const MOST_KIB: u64 = 128 << 10;

fn start(world: &World, args: &[&str], input: Stdio) -> Child {
    world
        .command(args)
        .env("KEYWARD_CLIENT_DIR", world.path("device"))
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn pour(mut into: &ChildStdin) {
    let piece = vec![0; 1 << 20];
    for _ in 0..GIB / piece.len() {
        into.write_all(&piece).unwrap();
    }
}

/// The most that a running process has had in memory.
fn peak(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

fn ends_well(mut process: Child) {
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_gib_is_encrypted_by_the_device_and_decrypted_by_the_operator() {
    let (world, _server) = enrolled();
    let kid = create(&world, "A256GCM", "encrypt", &[]);
    world.device_ok("device", &["acquire", &kid]);
    let encrypt = device("encrypt", &kid, &["--stream", "--offline", "--aad", "all"]);
    let mut encrypting = start(&world, &encrypt, Stdio::piped());
    let encrypted = Stdio::from(encrypting.stdout.take().unwrap());
    let decrypt = operator("decrypt", &kid, &["--stream", "--aad", "all"]);
    let mut decrypting = start(&world, &decrypt, encrypted);
    let mut clear = decrypting.stdout.take().unwrap();
    let counting = thread::spawn(move || {
        let (mut piece, mut count) = (vec![0; 1 << 20], 0);
        loop {
            let read = clear.read(&mut piece).unwrap();
            assert!(piece[..read] == vec![0; read], "what came out differs");
            count += read;
            if read == 0 {
                return count;
            }
        }
    });
    let stdin = encrypting.stdin.take().unwrap();
    pour(&stdin);
    // Both wait for more.
    for process in [&encrypting, &decrypting] {
        let peak = peak(process);
        assert!(peak < MOST_KIB, "{peak} KiB");
    }
    drop(stdin);
    ends_well(encrypting);
    ends_well(decrypting);
    assert_eq!(counting.join().unwrap(), GIB);
}

#[test]
fn a_gib_is_signed_by_the_device_and_verified_by_the_operator() {
    let (world, _server) = enrolled();
    let kid = create(&world, "HMAC256", "sign", &[]);
    for args in [
        device("sign", &kid, &["-", "-o", "signature"]),
        operator("verify", &kid, &["-", "--signature", "signature"]),
    ] {
        let mut process = start(&world, &args, Stdio::piped());
        let stdin = process.stdin.take().unwrap();
        pour(&stdin);
        let peak = peak(&process);
        assert!(peak < MOST_KIB, "{peak} KiB");
        drop(stdin);
        ends_well(process);
    }
}
