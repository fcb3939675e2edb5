//! A world of real processes: an operator, its license server, devices; files in a temporary folder.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

/// A temporary folder with an operator in it, and the port its server will use.
pub(crate) struct World {
    folder: tempfile::TempDir,
    port: u16,
}

/// A running license server; stopped when it is dropped.
pub(crate) struct Server(pub(crate) Child);

impl World {
    /// Makes an operator.
    pub(crate) fn new() -> Self {
        let (port, admin_port) = free_ports();
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            port,
        };
        world.ok(&[
            "init",
            "operator",
            "--name",
            "Test operator",
            "--public-url",
            &format!("http://127.0.0.1:{port}"),
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--admin-listen",
            &format!("127.0.0.1:{admin_port}"),
        ]);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs the program as `device`, in the world's folder.
    pub(crate) fn as_device(&self, device: &str, args: &[&str]) -> Output {
        self.command(args)
            .env("KEYWARD_CLIENT_DIR", self.path(device))
            .output()
            .unwrap()
    }

    /// Runs the program; it must succeed. Returns what it wrote to standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.device_ok("nobody", args)
    }

    /// Runs the program as `device`; it must succeed. Returns what it wrote to standard output.
    pub(crate) fn device_ok(&self, device: &str, args: &[&str]) -> String {
        let output = self.as_device(device, args);
        assert!(
            output.status.success(),
            "{args:?} failed:\n{}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs the program as `device`; it must fail with this code. Returns what it wrote to standard error.
    pub(crate) fn fails(&self, device: &str, code: i32, args: &[&str]) -> String {
        let output = self.as_device(device, args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}:\n{}",
            text(&output.stderr)
        );
        text(&output.stderr)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts the license server and waits until it is ready.
    pub(crate) fn serve(&self) -> Server {
        let mut child = self
            .command(&["serve", "--operator", "operator"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let server = Server(child);
        for _ in 0..200 {
            if self.is_ready() {
                // Somebody must read the log, or the server waits for it one day.
                std::thread::spawn(move || {
                    let mut line = String::new();
                    while log.read_line(&mut line).is_ok_and(|read| read > 0) {
                        line.clear();
                    }
                });
                return server;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        drop(server);
        let mut said = String::new();
        log.read_to_string(&mut said).ok();
        panic!("the server did not become ready:\n{said}");
    }

    fn is_ready(&self) -> bool {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) else {
            return false;
        };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream
            .write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .ok();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        answer.starts_with("HTTP/1.1 200")
    }

    /// Enrols `device` for `account`, which the operator entitles to everything.
    pub(crate) fn enrol(&self, device: &str, account: &str) {
        self.ok(&["admin", "grant", "--account", account, "--all"]);
        let token = self.token(account);
        self.device_ok(
            device,
            &[
                "enrol",
                "--profile",
                "operator/operator-profile",
                "--token",
                &token,
            ],
        );
    }

    pub(crate) fn token(&self, account: &str) -> String {
        let made = self.ok(&["--json", "admin", "enrolment-token", "--account", account]);
        let json: serde_json::Value = serde_json::from_str(&made).unwrap();
        json["token"].as_str().unwrap().to_owned()
    }
}

impl Server {
    /// Asks the server to stop, as a service manager does, and waits for it to end well.
    pub(crate) fn stop(mut self) {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.0.wait().unwrap().success(), "the server did not end well");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Content that compresses and repeats nowhere, so that a byte out of place shows.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn free_ports() -> (u16, u16) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = listeners.map(|listener| listener.local_addr().unwrap().port());
    (first, second)
}

/// Every file below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path))
        } else {
            files.push(path)
        }
    }
    files
}
