//! Writes the custom resource definitions to a directory: `crds/yaml` beside this crate, or the one given.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("yaml"), PathBuf::from);
    match write_all(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write the definitions to {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn write_all(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(directory)?;
    for (file, definition) in crds::definitions() {
        std::fs::write(directory.join(file), crds::to_yaml(&definition)?)?;
    }
    Ok(())
}
