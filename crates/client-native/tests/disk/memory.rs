//! No key is left in the memory of a process, nor on its disk, once the application is done with it.
//!
//! A child opens the client directory and does what its parent tells it, step by step; the parent reads the child's
//! memory after each (`/proc/PID/mem`). The child never has a key from its parent: keys are in the parent, where the
//! server is, and come to the child in sealed licenses alone. What the search finds while a key is in use shows that
//! it finds keys; what it does not find afterwards is gone.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use keyward_client::session::Acquisition;
use keyward_client_native::NativeClient;
use keyward_content::{
    file::{FileHeader, LockedFile, Sealer},
    header::ContentHeader,
};
use keyward_crypto::{
    ContentKey,
    exchange::{Algorithm, ExchangeKey, Operation},
};
use keyward_testkit::fake_server::{ExchangeKeys, LICENSE_PATH, ORIGIN};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::world::{CONTENT_KEY, World, kid, open_offline, wanted};

const FOLDER: &str = "KEYWARD_TEST_SEARCHED_FOLDER";
const KEYS: [(u8, Algorithm, Operation); 9] = [
    (11, Algorithm::A256Gcm, Operation::Encrypt),
    (12, Algorithm::A128Ctr, Operation::Decrypt),
    (13, Algorithm::A128Cbc, Operation::Encrypt),
    (14, Algorithm::A256Kw, Operation::Unwrap),
    (15, Algorithm::HmacSha256, Operation::Sign),
    (16, Algorithm::Esp256, Operation::Sign),
    (17, Algorithm::Ed25519, Operation::Sign),
    (18, Algorithm::A256Cbc, Operation::Decrypt),
    (19, Algorithm::A128Gcm, Operation::Decrypt),
];

/// The key of a number, as the server has it.
fn key(number: u8, algorithm: Algorithm) -> ExchangeKey {
    ExchangeKey::generate(algorithm, &mut ChaCha20Rng::from_seed([number; 32]))
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is how a parent tells its child the folder"
)]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let marker = fs::read(folder.with_file_name("marker")).unwrap();
    say("marked");
    drop(marker);
    let mut client = open_offline(folder).unwrap();
    client
        .install(fs::read(folder.with_file_name("response")).unwrap())
        .unwrap();
    say("installed");
    for (number, _, operation) in KEYS {
        perform(&mut client, number, operation);
        say("closed");
    }
    let opened = client
        .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
        .unwrap();
    let file = fs::read(folder.with_file_name("protected")).unwrap();
    let locked = LockedFile::read_from(&mut &file[..]).unwrap();
    let opener = opened.unlock(*locked).unwrap();
    say("playing");
    drop(opener);
    drop(opened);
    say("stopped");
    drop(client);
    say("ended");
}

/// Prepares a key, uses it, says so, and closes it.
fn perform(client: &mut NativeClient, number: u8, operation: Operation) {
    let (kid, wanted, never) = (kid(number), wanted(number), Acquisition::Never);
    match operation {
        Operation::Encrypt => {
            let key = client.prepare_encryptor(kid, None, wanted, never).unwrap();
            for length in [0, 100, 100_000] {
                client.encrypt(&key, b"", &vec![1; length]).unwrap();
            }
            let moment = client.ready(&key).unwrap();
            let mut result = Vec::new();
            let mut rng = ChaCha20Rng::from_seed([3; 32]);
            let mut stream = key.stream(moment, b"", &mut rng).unwrap();
            stream.update(moment, &[1; 100_000], &mut result).unwrap();
            say("performing");
            stream.finish(moment, &mut result).unwrap();
            client.close(key).unwrap();
        }
        Operation::Decrypt => {
            let key = client.prepare_decryptor(kid, None, wanted, never).unwrap();
            let result = [&[0, 0, 0, 1][..], &[5; 100]].concat();
            // What was not made with the key fails where that is seen, and the key is used all the same.
            client.decrypt(&key, b"", &result).ok();
            let moment = client.ready(&key).unwrap();
            let mut stream = key.stream(moment, b"").unwrap();
            stream.update(moment, &result, &mut Vec::new()).ok();
            say("performing");
            stream.finish(moment, &mut Vec::new()).ok();
            client.close(key).unwrap();
        }
        Operation::Sign => {
            let key = client.prepare_signer(kid, None, wanted, never).unwrap();
            client.sign(&key, b"text").unwrap();
            let moment = client.ready(&key).unwrap();
            if let Ok(mut stream) = key.stream(moment) {
                stream.update(moment, b"text").unwrap();
                say("performing");
                stream.finish(moment).unwrap();
            } else {
                say("performing");
            }
            client.close(key).unwrap();
        }
        _ => {
            let key = client.prepare_unwrapper(kid, None, wanted, never).unwrap();
            let result = [&[0, 0, 0, 1][..], &[5; 40]].concat();
            client.unwrap(&key, &result).unwrap_err();
            say("performing");
            client.close(key).unwrap();
        }
    }
}

/// Says how far it has come, and waits until the parent has looked.
fn say(step: &str) {
    std::io::stdout()
        .write_all(format!("\n{step}\n").as_bytes())
        .unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

/// A child, as its parent sees it.
struct Searched {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Searched {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory::child", "--nocapture"])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits until it has come this far, looks for what must not be lost or found, and lets it go on.
    fn at(&mut self, step: &str, wanted: &[Needle]) -> Vec<&'static str> {
        let said = self.lines.any(|line| line.unwrap() == step);
        assert!(said, "the child did not come to {step}");
        let found = self.search(wanted);
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        found
    }

    /// Which of these lie anywhere in the memory that the child can write.
    fn search(&self, needles: &[Needle]) -> Vec<&'static str> {
        let pid = self.child.id();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut found = Vec::new();
        let (mut searched, mut buffer) = (0, Vec::new());
        for line in maps
            .lines()
            .filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw"))
        {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
            buffer.resize(usize::try_from(end - start).unwrap(), 0);
            memory.seek(SeekFrom::Start(start)).unwrap();
            memory.read_exact(&mut buffer).unwrap();
            searched += buffer.len();
            for needle in needles.iter().filter(|needle| needle.is_in(&buffer)) {
                found.push(needle.name);
            }
        }
        assert!(
            searched > 1 << 20,
            "a process has more memory than that: {searched}"
        );
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Drop for Searched {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Something to search for, in one of the forms in which a key lies in memory.
struct Needle {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Needle {
    fn new(name: &'static str, bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        Self { name, bytes }
    }

    fn is_in(&self, haystack: &[u8]) -> bool {
        let (first, length) = (self.bytes[0], self.bytes.len());
        let mut rest = haystack;
        while let Some(at) = rest.iter().position(|byte| *byte == first) {
            if rest[at..].starts_with(&self.bytes) {
                return true;
            }
            rest = &rest[at + 1..];
            if rest.len() < length {
                return false;
            }
        }
        false
    }
}

/// A key as it is, which is also how the schedule of AES begins; the other half of a long one; a number with its
/// smallest byte first; and the two blocks that HMAC begins with.
fn forms(key: &[u8]) -> Vec<Needle> {
    let reversed: Vec<u8> = key.iter().rev().copied().collect();
    let pad = |with: u8| -> Vec<u8> { key.iter().map(|byte| byte ^ with).collect() };
    let (first, last) = (&key[..16], &key[key.len() - 16..]);
    vec![
        Needle::new("first half", first),
        Needle::new("last half", last),
        Needle::new("reversed", &reversed[..16]),
        Needle::new("inner pad", &pad(0x36)[..16]),
        Needle::new("outer pad", &pad(0x5c)[..16]),
    ]
}

/// The names of what lies in a file of the client directory.
fn on_disk(world: &World, needles: &[Needle]) -> Vec<&'static str> {
    let files = world.files();
    assert!(files.len() >= 4);
    let lies = |needle: &&Needle| files.iter().any(|(_, bytes)| needle.is_in(bytes));
    needles.iter().filter(lies).map(|needle| needle.name).collect()
}

/// A file that was protected under the content key.
fn protected() -> Vec<u8> {
    let object = ContentHeader::for_file(kid(1), None).to_object_bytes().unwrap();
    let header = FileHeader::new(object, kid(1));
    let mut rng = ChaCha20Rng::from_seed([8; 32]);
    let (sealer, _) = Sealer::new(&ContentKey::new(CONTENT_KEY), &header, &mut rng).unwrap();
    sealer.prefix().to_vec()
}

#[test]
fn keys_are_in_memory_while_they_are_used_and_not_afterwards_and_never_on_disk() {
    let world = World::licensed();
    for (number, algorithm, operation) in KEYS {
        let keys = ExchangeKeys::new(kid(number), operation, &[(1, &key(number, algorithm))]);
        world.server.borrow_mut().exchange.insert(kid(number), keys);
    }
    let mut client = world.open().unwrap();
    let asked = keyward_client::acquire::Wanted {
        kids: KEYS.iter().map(|(number, ..)| kid(*number)).collect(),
        ..keyward_client::acquire::Wanted::default()
    };
    let request = client.request(asked).unwrap();
    drop(client);
    let answer = world
        .server
        .borrow_mut()
        .answer(&format!("{ORIGIN}{LICENSE_PATH}"), &request);
    fs::write(world.beside("response"), answer.body).unwrap();
    fs::write(world.beside("protected"), protected()).unwrap();
    let marker: Vec<u8> = (0..64).map(|at| at ^ 0xa7).collect();
    fs::write(world.beside("marker"), &marker).unwrap();

    let content = forms(&CONTENT_KEY);
    let exchange = |number, algorithm| forms(key(number, algorithm).bytes().expose());
    let every_key = || {
        KEYS.iter()
            .flat_map(|(number, algorithm, _)| exchange(*number, *algorithm))
    };
    let mut child = Searched::start(&world.folder());
    let marked = child.at(
        "marked",
        &[
            Needle::new("marker", &marker[..16]),
            Needle::new("end", &marker[48..]),
        ],
    );
    assert_eq!(marked, ["end", "marker"], "the search finds what is there");
    let all: Vec<_> = every_key().chain(forms(&CONTENT_KEY)).collect();
    assert_eq!(child.at("installed", &all), [""; 0], "installation");
    for (number, algorithm, _) in KEYS {
        let needles = exchange(number, algorithm);
        let used = child.at("performing", &needles);
        assert!(!used.is_empty(), "{algorithm}: the search finds the key in use");
        assert_eq!(on_disk(&world, &all), [""; 0]);
        assert_eq!(
            child.at("closed", &needles),
            [""; 0],
            "{algorithm}: after it was closed"
        );
    }
    assert_eq!(child.at("playing", &content), ["first half", "last half"]);
    assert_eq!(child.at("stopped", &content), [""; 0], "after the playback");
    assert_eq!(child.at("ended", &all), [""; 0], "at the end");
    assert_eq!(on_disk(&world, &all), [""; 0]);
    fs::write(world.folder().join("planted"), CONTENT_KEY).unwrap();
    assert_eq!(
        on_disk(&world, &content).len(),
        2,
        "the search of files finds what is there"
    );
}
