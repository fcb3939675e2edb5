//! The arrows between the crates and the invariants that go with them, as ARCHITECTURE.md draws them.
//!
//! `law` is the table, `graph` holds the dependencies against it, `purity` the sources. A new crate or a new
//! arrow is a new line in `law`, and so a decision somebody sees.

mod graph;
mod law;
mod purity;

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;

use crate::process::{root, say};
use crate::sources;
use graph::Graph;

pub(crate) use law::SANS_IO;

/// Fails with a list of everything that breaks the law.
pub(crate) fn check() -> Result<()> {
    let top = root();
    let metadata = MetadataCommand::new()
        .manifest_path(top.join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .context("cannot read the dependency graph")?;
    let graph = Graph::of(&metadata);
    let mut faults = graph.faults();
    for package in &graph.crates {
        let manifest = std::fs::read_to_string(&package.manifest)
            .with_context(|| format!("cannot read {}", package.manifest.display()))?;
        faults.extend(purity::lints_fault(&package.name, &manifest));
        if package.name != law::TOOLING {
            let folder = package.manifest.parent().unwrap_or(&top);
            let sources = sources::of_crate(folder, &top)?;
            faults.extend(
                sources
                    .iter()
                    .flat_map(|source| purity::faults(&package.name, source)),
            );
        }
    }
    if !faults.is_empty() {
        bail!(
            "{} faults against the arrows\n{}",
            faults.len(),
            faults.join("\n")
        );
    }
    say(format!("arrows: {} crates, none out of line", graph.crates.len()));
    Ok(())
}
