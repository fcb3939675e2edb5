//! Real processes: two at once, one after another, one that may not write, one that is killed.
//!
//! A child is this test binary again, told by an environment variable to be [`child`] and nothing else.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use keyward_client::session::Acquisition;
use keyward_client_native::NativeError;
use keyward_testkit::fake_server::{LICENSE_PATH, ORIGIN};

use crate::world::{World, kid, open_offline, opens, wanted};

const JOB: &str = "KEYWARD_TEST_JOB";
const FOLDER: &str = "KEYWARD_TEST_FOLDER";

/// What a child says when it has done its job.
const DONE: &str = "job done";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is how a parent tells its child the job"
)]
fn child() {
    let (Ok(job), Ok(folder)) = (std::env::var(JOB), std::env::var(FOLDER)) else {
        return;
    };
    match run(&job, Path::new(&folder)) {
        Ok(()) => say(DONE),
        Err(error) => say(&format!("error: {error}\nhint: {}", error.hint())),
    }
}

/// Says something to the parent, on a line of its own.
fn say(what: &str) {
    std::io::stdout()
        .write_all(format!("\n{what}\n").as_bytes())
        .unwrap();
}

fn run(job: &str, folder: &Path) -> Result<(), NativeError> {
    let [request, response] = ["request", "response"].map(|name| folder.with_file_name(name));
    let mut client = open_offline(folder)?;
    match job {
        "open" => drop(client),
        "hold" => {
            say("holding");
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }
        "request" => fs::write(request, client.request(wanted(2))?).unwrap(),
        "install" => drop(client.install(fs::read(response).unwrap())?),
        "play" => assert!(opens(
            &client
                .open_content(vec![kid(2)], wanted(2), Acquisition::Never)?
                .bound[0]
        )),
        "play-stored" => assert!(opens(
            &client
                .open_content(vec![kid(1)], wanted(1), Acquisition::Never)?
                .bound[0]
        )),
        "requests" => {
            say("holding");
            loop {
                client.request(wanted(2))?;
            }
        }
        other => panic!("no such job: {other}"),
    }
    Ok(())
}

fn command(job: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "process::child", "--nocapture"])
        .env(JOB, job)
        .env(FOLDER, folder);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// What a child says: [`DONE`], or its error and hint.
fn said(mut command: Command) -> Vec<String> {
    let output = command.output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let said: Vec<_> = lines
        .lines()
        .filter(|line| is_ours(line))
        .map(str::to_owned)
        .collect();
    assert!(!said.is_empty(), "the child said nothing of use: {lines}");
    said
}

fn is_ours(line: &str) -> bool {
    line == DONE || line.starts_with("error: ") || line.starts_with("hint: ")
}

/// Starts a child and waits until it has the store open.
fn holding(job: &str, folder: &Path) -> Child {
    let mut child = command(job, folder).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap() == "holding"),
        "the child did not open the store"
    );
    child
}

#[test]
fn a_second_process_is_refused_while_the_first_lives() {
    let world = World::licensed();
    let in_use = [
        format!(
            "error: the license store {} is in use by another process",
            world.folder().join("licenses.redb").display()
        ),
        "hint: wait until the other process has ended, or name another client directory".to_owned(),
    ];
    let client = world.open().unwrap();
    assert_eq!(said(command("open", &world.folder())), in_use);
    assert!(
        matches!(world.open(), Err(NativeError::StoreInUse(_))),
        "in one process just as well"
    );
    drop(client);
    assert_eq!(said(command("open", &world.folder())), [DONE]);

    let mut first = holding("hold", &world.folder());
    let refused = world.open().unwrap_err();
    assert_eq!(
        [format!("error: {refused}"), format!("hint: {}", refused.hint())],
        in_use
    );
    drop(first.stdin.take());
    first.wait().unwrap();
    assert!(opens(
        &world
            .open()
            .unwrap()
            .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
            .unwrap()
            .bound[0]
    ));
}

#[test]
fn many_processes_that_make_one_store_at_once_make_one() {
    let world = World::new();
    let children: Vec<_> = (0..6)
        .map(|_| command("open", &world.folder()).spawn().unwrap())
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let first = lines.lines().find(|line| is_ours(line)).unwrap();
        assert!(
            first == DONE || first.ends_with("is in use by another process"),
            "{first}"
        );
    }
    let mut client = world.open().unwrap();
    world.enrol(&mut client);
    client.acquire(wanted(1)).unwrap();
    let names: Vec<_> = world.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["device.keys", "device.secret", "licenses.epoch", "licenses.redb"]
    );
}

#[test]
fn request_installation_and_use_may_fall_into_different_processes() {
    let world = World::licensed();
    assert_eq!(said(command("request", &world.folder())), [DONE]);
    let request = fs::read(world.beside("request")).unwrap();
    let answer = world
        .server
        .borrow_mut()
        .answer(&format!("{ORIGIN}{LICENSE_PATH}"), &request);
    assert_eq!(answer.status, 200);
    fs::write(world.beside("response"), answer.body).unwrap();
    assert_eq!(said(command("install", &world.folder())), [DONE]);
    let again = said(command("install", &world.folder()));
    assert_eq!(
        again[0],
        "error: the response answers no pending request of this client"
    );
    assert_eq!(said(command("play", &world.folder())), [DONE]);
}

#[test]
fn a_process_that_is_killed_while_it_writes_leaves_a_store_that_opens() {
    let world = World::licensed();
    for round in 0..8 {
        let mut child = holding("requests", &world.folder());
        std::thread::sleep(Duration::from_millis(30 + 17 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut client = world
            .open()
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(client.licenses().unwrap().len(), 1);
        assert!(opens(
            &client
                .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
                .unwrap()
                .bound[0]
        ));
    }
}

#[cfg(unix)]
mod read_only {
    use std::os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    };

    use super::*;

    /// A user without rights. A test that runs as root acts as this one, since nothing is read-only to root.
    const NOBODY: u32 = 65_534;

    const WRITABLE: &str = "hint: make the folder and its files writable for this user, then try again; nothing that was confirmed is lost";

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Lets a child do a job as a user who may not write into `folder`.
    fn without_writing(job: &str, folder: &Path) -> Vec<String> {
        set_mode(folder, 0o555);
        set_mode(folder.parent().unwrap(), 0o755);
        let mut command = command(job, folder);
        if fs::write(folder.join("probe"), b"").is_ok() {
            fs::remove_file(folder.join("probe")).unwrap();
            for entry in fs::read_dir(folder).unwrap() {
                chown(entry.unwrap().path(), Some(NOBODY), None).unwrap();
            }
            command.uid(NOBODY);
        }
        let said = said(command)
            .into_iter()
            .map(|line| line.replace(folder.to_str().unwrap(), "DIR"))
            .collect();
        set_mode(folder, 0o700);
        said
    }

    #[test]
    fn an_empty_folder_that_cannot_be_written_is_named() {
        let world = World::new();
        fs::create_dir(world.folder()).unwrap();
        let said = without_writing("open", &world.folder());
        let said: Vec<_> = (said.iter())
            .map(|line| line.split(" at path").next().unwrap())
            .collect();
        let expected = [
            "error: cannot write DIR/licenses.redb: Permission denied (os error 13)",
            WRITABLE,
        ];
        assert_eq!(said, expected);
        assert!(world.files().is_empty());
    }

    #[test]
    fn a_folder_that_has_become_read_only_loses_nothing_however_often_it_is_tried() {
        let world = World::licensed();
        let file = [
            "error: cannot write DIR/licenses.epoch: Permission denied (os error 13)",
            WRITABLE,
        ];
        for _ in 0..3 {
            let said = without_writing("request", &world.folder());
            let said: Vec<_> = said
                .iter()
                .map(|line| line.split(" at path").next().unwrap())
                .collect();
            assert_eq!(said, file);
        }
        let mut client = world.open().unwrap();
        assert!(opens(
            &client
                .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
                .unwrap()
                .bound[0]
        ));
        client.acquire(wanted(2)).unwrap();
    }
}

/// Disks that are full: one whose limit a process has of its own, and a real one.
#[cfg(unix)]
mod full {
    use super::*;

    const SPACE: &str = "hint: free some space, then try again; nothing that was confirmed is lost";

    /// A child that a shell starts, after it has run `before`.
    fn after_script(before: &str, job: &str, folder: &Path) -> Command {
        let child = command(job, folder);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before}\nexec \"$0\" \"$@\"")]);
        shell.arg(child.get_program()).args(child.get_args());
        for (name, value) in child.get_envs() {
            shell.env(name, value.unwrap());
        }
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        shell
    }

    #[test]
    fn a_process_that_may_write_no_more_says_so_and_loses_nothing() {
        let world = World::licensed();
        // The signal that comes with the limit would end the process: without it, the write fails.
        let limited = "trap '' XFSZ && ulimit -f 0 || exit 1";
        for _ in 0..3 {
            let said = said(after_script(limited, "request", &world.folder()));
            assert!(said[0].ends_with("File too large (os error 27)"), "{said:?}");
            assert_eq!(said[1], SPACE);
        }
        assert_eq!(said(command("request", &world.folder())), [DONE]);
        works(&world);
    }

    /// Needs the right to mount: where there is none, the disk in memory of `failing` has to do.
    #[test]
    fn a_disk_that_is_full_is_named_and_all_is_well_once_there_is_space() {
        let world = World::licensed();
        let (folder, source) = (world.folder(), world.beside("source"));
        fs::rename(&folder, &source).unwrap();
        fs::create_dir(&folder).unwrap();
        let small = format!(
            "mount -t tmpfs -o size=16m none '{0}' && cp -a '{1}/.' '{0}' && \
             {{ dd if=/dev/zero of='{0}/filler' bs=4k 2>/dev/null; true; }}",
            folder.display(),
            source.display(),
        );
        // All in one namespace of mounts, which ends with it.
        let child = command("request", &folder);
        let exe = child.get_program().to_str().unwrap();
        let run = format!("'{exe}' --exact process::child --nocapture");
        let script = format!(
            "{small} || {{ echo; echo 'no mount'; exit; }}\n{run}\n{run}\nrm '{}/filler'\n{run}\n\
             KEYWARD_TEST_JOB=play-stored {run}\n",
            folder.display(),
        );
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", &script]);
        shell.env(JOB, "request").env(FOLDER, &folder);
        let mounted = |lines: &String| !lines.is_empty() && !lines.contains("no mount");
        let lines = (shell.output().ok()).map(|output| String::from_utf8(output.stdout).unwrap());
        let Some(lines) = lines.filter(mounted) else {
            println!("not run: this user may not mount");
            return;
        };
        let said: Vec<_> = lines.lines().filter(|line| is_ours(line)).collect();
        let [first, space, second, space_again, DONE, DONE] = said[..] else {
            panic!("{said:?}")
        };
        for line in [first, second] {
            assert!(line.contains("No space left on device"), "{line}");
        }
        assert_eq!([space, space_again], [SPACE; 2]);
    }

    /// What was there is of use, and more can come.
    fn works(world: &World) {
        let mut client = world.open().unwrap();
        let opened = client.open_content(vec![kid(1)], wanted(1), Acquisition::Never);
        assert!(opens(&opened.unwrap().bound[0]));
        client.acquire(wanted(2)).unwrap();
    }
}
