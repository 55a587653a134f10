//! Writes every generated file below the folder given, by default the current one.

use std::{env, fs, path::PathBuf};

use anyhow::Context;
use vault_connection_operator::manifests;

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    for file in manifests::generated() {
        let path = root.join(file.path);
        // A new file is written as a whole.
        let found = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, file.replace(&found))
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}
