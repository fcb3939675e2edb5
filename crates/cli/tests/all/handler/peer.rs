//! Authorization tokens that a program of stock Python packages makes, in every algorithm.

use std::{collections::BTreeMap, path::Path, process::Command, sync::Arc};

use keyward_client::{acquire::Wanted, install::AcquiredKey};
use keyward_server::{
    Server,
    clock::{Clock, SystemClock},
    sealing::KekSource,
};
use keyward_testkit::peers;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{FILM, device, initialised};

const ALGORITHMS: [&str; 5] = ["ES256", "ES384", "EdDSA", "RS256", "PS256"];

#[test]
fn tokens_of_another_program_are_understood_in_every_algorithm() {
    let Some(python) = peers::python() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("operator");
    let runtime = Arc::new(Runtime::new().unwrap());
    runtime.block_on(initialised(&dir));
    let claims = json!({
        "iss": "https://shop.example", "aud": ["https://other.example", "licenses"], "sub": "alice",
        "exp": SystemClock.now().0 + 600, "keyward": { "keys": [FILM.to_string()] },
    });
    let made = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/handler/peer.py"))
        .arg(&dir)
        .arg(claims.to_string())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tokens: BTreeMap<String, String> = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(tokens.len(), ALGORITHMS.len());
    ask_for_tokens(&dir);

    let open = Server::open(&dir, KekSource::File, Arc::new(SystemClock));
    let server = runtime.block_on(open).unwrap();
    let mut client = device(home.path(), &server, &runtime);
    for (algorithm, token) in tokens {
        let mut wanted = Wanted {
            kids: vec![FILM],
            authorization: Some(token.clone()),
            ..Wanted::default()
        };
        let acquired = client.acquire(wanted.clone()).unwrap();
        assert!(
            matches!(acquired.outcomes[0].1, AcquiredKey::Stored(_)),
            "{algorithm}: {acquired:?}"
        );
        // Of a signature that is another's, nothing comes.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let reversed: String = signature.chars().rev().collect();
        wanted.authorization = Some(format!("{signed}.{reversed}"));
        let acquired = client.acquire(wanted).unwrap();
        let AcquiredKey::Denied(denial) = &acquired.outcomes[0].1 else {
            panic!("{algorithm}: {acquired:?}");
        };
        assert_eq!(denial.code, 306, "{algorithm}: {}", denial.sentence);
    }
    drop(client);
    runtime.block_on(server.close());
}

fn ask_for_tokens(dir: &Path) {
    let keys: String = ALGORITHMS
        .iter()
        .map(|name| {
            format!(
                "[[authorization.jwt]]\nname = \"{name}\"\nalgorithm = \"{name}\"\naudience = \"licenses\"\n\
                 key_file = \"{name}.pem\"\n"
            )
        })
        .collect();
    let path = dir.join("operator.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let asked = text.replace(
        "# sources = [\"rows\"]\n",
        &format!("sources = [\"jwt\"]\n{keys}"),
    );
    assert_ne!(asked, text);
    std::fs::write(path, asked).unwrap();
}
