//! The kernel crate and the crates it depends on by path: where they are, and the hash of all they are made of.
//!
//! The hash tells whether committed PTX belongs to the sources even where no compiler for it exists. It covers,
//! for each of these crates, Cargo.toml, the build script, every file beside and below the library's root, and
//! what cargo resolved from the workspace (edition, dependencies and their requirements). Names are relative and
//! line ends normalised, so that checkouts anywhere agree. Dev-dependencies are not followed. A crate from a
//! registry counts by its version requirement.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::environment;
use crate::error::{BuildError, io_error};

/// A kernel crate and everything it needs that is part of the project.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The kernel crate's own manifest.
    pub(crate) manifest: PathBuf,
    /// Its name in Cargo.toml.
    pub(crate) package: String,
    /// Its library's name, `-` replaced by `_`.
    pub(crate) library: String,
    /// Where cargo would build its workspace.
    pub(crate) target_directory: PathBuf,
    /// The workspace's root folder.
    pub(crate) workspace_root: PathBuf,
    /// The kernel crate and its path dependencies, by name.
    packages: BTreeMap<String, Package>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
struct Package {
    name: String,
    edition: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Dependency {
    name: String,
    req: String,
    kind: Option<String>,
    rename: Option<String>,
    target: Option<String>,
    optional: bool,
    uses_default_features: bool,
    features: Vec<String>,
    // The machine's: not part of the hash.
    #[serde(skip_serializing)]
    path: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
}

impl Package {
    fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new(""))
    }

    fn target(&self, kinds: &[&str]) -> Option<&Target> {
        let is_one = |kind: &String| kinds.contains(&kind.as_str());
        self.targets.iter().find(|target| target.kind.iter().any(is_one))
    }

    fn library(&self) -> Option<&Target> {
        self.target(&["lib", "rlib", "proc-macro", "cdylib", "dylib"])
    }

    fn build_dependencies(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"))
    }
}

impl Sources {
    /// Asks cargo for the crate in `folder` and follows its path dependencies.
    pub(crate) fn of(folder: &Path) -> Result<Self, BuildError> {
        let manifest = folder.join("Cargo.toml");
        let manifest = manifest.canonicalize().map_err(io_error(&manifest))?;
        let metadata = metadata(&manifest)?;
        let mut known = metadata.packages;
        let mut packages = BTreeMap::new();
        let mut queue = vec![manifest.clone()];
        let mut kernels = None;
        while let Some(next) = queue.pop() {
            let is_next = |package: &&Package| same_file(&package.manifest_path, &next);
            if packages.values().any(|package| is_next(&package)) {
                continue;
            }
            if !known.iter().any(|package| is_next(&package)) {
                known.extend(self::metadata(&next)?.packages);
            }
            let package = known.iter().find(is_next).cloned();
            let package = package.ok_or_else(|| BuildError::NoPackage { manifest: next.clone() })?;
            let paths = package.build_dependencies().filter_map(|dependency| dependency.path.as_ref());
            queue.extend(paths.map(|folder| folder.join("Cargo.toml")));
            kernels.get_or_insert_with(|| package.clone());
            packages.insert(package.name.clone(), package);
        }
        let library = kernels.as_ref().and_then(|package| Some((package.name.clone(), package.library()?)));
        let Some((package, library)) = library else {
            return Err(BuildError::NoPackage { manifest });
        };
        Ok(Self {
            package,
            library: library.name.replace('-', "_"),
            manifest,
            target_directory: metadata.target_directory,
            workspace_root: metadata.workspace_root,
            packages,
        })
    }

    /// Folder and name of each crate.
    pub(crate) fn folders(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.packages.values().map(|package| (package.folder(), package.name.as_str()))
    }

    /// SHA-256 over `settings` and every source, in hexadecimal.
    pub(crate) fn hash(&self, settings: &[String]) -> Result<String, BuildError> {
        let mut hash = Framed(Sha256::new());
        for setting in settings {
            hash.add("setting", setting.as_bytes());
        }
        for package in self.packages.values() {
            hash.add("package", package.name.as_bytes());
            hash.add("edition", package.edition.as_bytes());
            for dependency in package.build_dependencies() {
                let text = serde_json::to_string(dependency).map_err(BuildError::Json)?;
                hash.add("dependency", text.as_bytes());
            }
            for (name, contents) in files(package)? {
                hash.add("file", name.as_bytes());
                hash.add("contents", &contents);
            }
        }
        Ok(format!("{:x}", hash.0.finalize()))
    }
}

/// A hash of labelled byte strings: the lengths go in, so that no two lists of them give the same bytes.
struct Framed(Sha256);

impl Framed {
    fn add(&mut self, label: &str, bytes: &[u8]) {
        self.0.update(format!("{label} {}\n", bytes.len()));
        self.0.update(bytes);
    }
}

/// Relative name and normalised contents of each file that the crate is built from, sorted by name.
fn files(package: &Package) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
    let mut paths = vec![package.manifest_path.clone()];
    if let Some(script) = package.target(&["custom-build"]) {
        paths.push(script.src_path.clone());
    }
    if let Some(root) = package.library().and_then(|lib| lib.src_path.parent()) {
        walk(root, &mut paths)?;
    }
    let mut files = BTreeMap::new();
    for path in paths {
        let relative = path.strip_prefix(package.folder()).unwrap_or(&path);
        let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        let contents = fs::read(&path).map_err(io_error(&path))?;
        files.insert(parts.join("/"), unix_line_ends(&contents));
    }
    Ok(files)
}

/// Every file in `folder` and below, less hidden ones and editors' backups.
fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), BuildError> {
    for entry in fs::read_dir(folder).map_err(io_error(folder))? {
        let entry = entry.map_err(io_error(folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        if entry.path().is_dir() {
            walk(&entry.path(), paths)?;
        } else {
            paths.push(entry.path());
        }
    }
    Ok(())
}

fn unix_line_ends(contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(contents.len());
    for (at, &byte) in contents.iter().enumerate() {
        if !(byte == b'\r' && contents.get(at + 1) == Some(&b'\n')) {
            out.push(byte);
        }
    }
    out
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// `cargo metadata` of the workspace of `manifest`, without resolving: neither lock file nor registry is needed.
fn metadata(manifest: &Path) -> Result<Metadata, BuildError> {
    let mut command = Command::new(environment::cargo());
    environment::isolate(&mut command);
    command.args(["metadata", "--no-deps", "--format-version", "1"]).arg("--manifest-path").arg(manifest);
    if let Some(folder) = manifest.parent() {
        command.current_dir(folder);
    }
    let output = command.output().map_err(|source| BuildError::Start { program: environment::cargo(), source })?;
    if !output.status.success() {
        return Err(BuildError::Metadata {
            manifest: manifest.to_owned(),
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| BuildError::Metadata { manifest: manifest.to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate `kernels` that depends on `../shared`, in a folder of its own.
    fn project() -> tempfile::TempDir {
        let project = tempfile::tempdir().unwrap();
        for (name, dependencies) in [("kernels", "shared = { path = \"../shared\" }"), ("shared", "")] {
            let folder = project.path().join(name);
            fs::create_dir_all(folder.join("src/deep")).unwrap();
            let manifest = format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{dependencies}\n"
            );
            fs::write(folder.join("Cargo.toml"), manifest).unwrap();
            fs::write(folder.join("src/lib.rs"), "mod deep;\n").unwrap();
            fs::write(folder.join("src/deep/mod.rs"), "\n").unwrap();
        }
        project
    }

    fn hash(project: &Path) -> String {
        let sources = Sources::of(&project.join("kernels")).unwrap();
        assert_eq!(sources.packages.len(), 2);
        sources.hash(&["flag".to_owned()]).unwrap()
    }

    #[test]
    fn the_same_in_another_folder() {
        assert_eq!(hash(project().path()), hash(project().path()));
    }

    #[test]
    fn line_ends_and_backups_do_not_count() {
        let project = project();
        let before = hash(project.path());
        let source = project.path().join("shared/src/deep/mod.rs");
        fs::write(source, "\r\n").unwrap();
        fs::write(project.path().join("shared/src/.lib.rs.swp"), "x").unwrap();
        fs::write(project.path().join("shared/src/lib.rs~"), "x").unwrap();
        assert_eq!(hash(project.path()), before);
    }

    #[test]
    fn every_source_counts() {
        for changed in ["kernels/src/lib.rs", "shared/src/deep/mod.rs", "shared/Cargo.toml"] {
            let project = project();
            let before = hash(project.path());
            let path = project.path().join(changed);
            let longer = fs::read_to_string(&path).unwrap() + "# \n";
            fs::write(path, longer).unwrap();
            assert_ne!(hash(project.path()), before, "{changed}");
        }
    }

    #[test]
    fn a_file_moved_and_a_setting_changed_count() {
        let project = project();
        let before = hash(project.path());
        let sources = Sources::of(&project.path().join("kernels")).unwrap();
        assert_ne!(sources.hash(&["another".to_owned()]).unwrap(), before);
        let folder = project.path().join("shared/src");
        fs::rename(folder.join("deep/mod.rs"), folder.join("deep.rs")).unwrap();
        assert_ne!(hash(project.path()), before);
    }

    #[test]
    fn no_crate_is_an_error() {
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Sources::of(empty.path()), Err(BuildError::Io { .. })));
    }
}
