//! Playing: segments under a key each, beside segments under one key, and an hour of the former.

use std::{fs, path::Path};

use keyward_client::{
    acquire::Wanted,
    session::{Acquisition, Needs, Opened},
};
use keyward_client_native::{NativeClient, NoTransport};
use keyward_content::{
    cenc::{Iv, Pattern, Scheme},
    media::KeyRing,
};

use crate::{
    Outcome,
    channel::{self, Segment},
    device,
    peer::Peer,
    say, timed,
};

/// Says the microseconds of a segment: reaching its key and decrypting it, and each alone.
pub(crate) fn segments(folder: &Path, rounds: usize, bytes: usize) -> Outcome {
    let mut player = Player::new(folder, bytes)?;
    let (mut each, mut reach, mut one, mut alone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (peer, mut leaf) = (Peer::new(), Vec::new());
    let segments = channel::read(folder)?;
    let first = segments.first().ok_or("the channel is empty")?;
    // In turn, so that what else the machine does falls on both.
    for segment in segments.iter().cycle().skip(1).take(rounds) {
        let (key, ()) = timed(|| player.reach(segment))?;
        let (sample, ()) = timed(|| player.decrypt(segment))?;
        reach.push(key);
        each.push(key + sample);
        let (key, ()) = timed(|| player.reach(first))?;
        let (sample, ()) = timed(|| player.decrypt(first))?;
        one.push(key + sample);
        alone.push(sample);
        leaf.push(peer.leaves(1)?.opening / 1000);
    }
    say(&format!("{bytes} bytes: a key for each segment"), &each);
    say(&format!("{bytes} bytes: one key for all"), &one);
    say(&format!("{bytes} bytes: of the former, the key"), &reach);
    say(&format!("{bytes} bytes: the decryption alone"), &alone);
    say(&format!("{bytes} bytes: cryptography of a leaf"), &leaf);
    Ok(())
}

/// Plays the channel from its beginning to its end, and says the memory after so many segments.
pub(crate) fn hour(folder: &Path) -> Outcome {
    let mut player = Player::new(folder, 64 << 10)?;
    let segments = channel::read(folder)?;
    for (number, segment) in segments.iter().enumerate() {
        if [1, 100, 300, 900].contains(&number) {
            say(&format!("KiB after segment {number}"), &[resident()?]);
        }
        player.reach(segment)?;
        player.decrypt(segment)?;
    }
    say(&format!("KiB after segment {}", segments.len()), &[resident()?]);
    say("keys that are kept", &[u64::try_from(player.opened.bound.len())?]);
    Ok(())
}

struct Player {
    client: NativeClient,
    opened: Opened,
    sample: Vec<u8>,
}

impl Player {
    fn new(folder: &Path, bytes: usize) -> Outcome<Self> {
        let mut client = device::open(folder, Box::new(NoTransport))?;
        client.host_mut().asks_while_playing = true;
        let opened = client.open_content(Vec::new(), Wanted::default(), Acquisition::Never)?;
        Ok(Self {
            client,
            opened,
            sample: vec![0x5a; bytes],
        })
    }

    fn reach(&mut self, segment: &Segment) -> Outcome {
        let needs = Needs {
            kids: vec![segment.kid],
            licenses: vec![segment.leaf.0.clone()],
            ..Needs::default()
        };
        self.client.reach(&mut self.opened, needs)?.check()?;
        Ok(())
    }

    fn decrypt(&mut self, segment: &Segment) -> Outcome {
        let cipher = self.opened.cipher(segment.kid, Scheme::Cenc, Pattern::NONE)?;
        cipher.decrypt(&mut self.sample, &Iv::from_u64(1), &[])?;
        Ok(())
    }
}

/// Memory of this process that is there, in KiB.
fn resident() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number
        .ok_or("the system does not say how much memory there is")?
        .parse()?)
}
