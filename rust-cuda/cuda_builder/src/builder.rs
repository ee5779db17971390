//! `CudaBuilder`: what to build, for which GPUs, where to.

use std::fs;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::check::{self, Check, Rebuild, Stale};
use crate::compiler::{self, Compiler};
use crate::error::BuildError;
use crate::files::write_all;
use crate::manifest::{FORMAT, MANIFEST_FILE, Manifest, Target};
use crate::recipe;
use crate::sources::Sources;

/// Builds a kernel crate to PTX, and checks PTX that was built earlier.
#[derive(Clone, Debug)]
pub struct CudaBuilder {
    crate_dir: PathBuf,
    archs: Vec<Arch>,
    out_dir: PathBuf,
}

impl CudaBuilder {
    /// For the kernel crate in `crate_dir`. The PTX goes to its folder `ptx` unless [`Self::out_dir`] says else.
    pub fn new(crate_dir: impl AsRef<Path>) -> Self {
        let crate_dir = crate_dir.as_ref().to_owned();
        Self { out_dir: crate_dir.join("ptx"), crate_dir, archs: Vec::new() }
    }

    /// Adds an architecture; each gets its own file.
    #[must_use]
    pub fn arch(mut self, arch: Arch) -> Self {
        if !self.archs.contains(&arch) {
            self.archs.push(arch);
        }
        self
    }

    /// Where `LIBRARY.ARCH.ptx` and `manifest.json` go.
    #[must_use]
    pub fn out_dir(mut self, folder: impl AsRef<Path>) -> Self {
        folder.as_ref().clone_into(&mut self.out_dir);
        self
    }

    /// Compiles for every architecture, then writes all files or none.
    ///
    /// # Errors
    /// No capable compiler (the message holds the commands that install one), kernels that do not compile, PTX
    /// that is refused ([`crate::Refusal`]), or files that cannot be written.
    pub fn build(&self) -> Result<Manifest, BuildError> {
        let sources = self.sources()?;
        // Before compiling: an edit made meanwhile shows as stale afterwards.
        let hash = self.hash(&sources)?;
        let search = compiler::search();
        let Some(compiler) = search.capable.first() else {
            return Err(BuildError::NoCompiler(Box::new(search)));
        };
        let compiler = search
            .capable
            .iter()
            .find(|compiler| self.archs.iter().all(|&arch| compiler.supports(arch)))
            .unwrap_or(compiler);
        let built = self.compile(&sources, compiler)?;
        let manifest = Manifest {
            format: FORMAT,
            package: sources.package,
            sources: hash,
            compiler: compiler.id.clone(),
            flags: recipe::settings(compiler.id.core),
            targets: built.iter().map(|(target, _)| target.clone()).collect(),
        };
        let mut files: Vec<_> = built.into_iter().map(|(target, text)| (target.file, text)).collect();
        // Last: it tells whether the others belong to it.
        files.push((MANIFEST_FILE.to_owned(), manifest.to_json()?));
        write_all(&self.out_dir, &files)?;
        Ok(manifest)
    }

    /// Compares what is in the output folder with the sources.
    ///
    /// Always: the sources' hash with the manifest's, and each PTX with what the manifest says of it. Where the
    /// compiler that built it exists, also: compiles again and compares byte for byte. Writes nothing.
    ///
    /// # Errors
    /// Only where the comparison could not be made; what differs is in the result.
    pub fn check(&self) -> Result<Check, BuildError> {
        let sources = self.sources()?;
        let manifest = match Manifest::read(&self.out_dir) {
            Ok(manifest) => manifest,
            Err(error) => {
                return Ok(Check { stale: vec![Stale::Manifest(error.to_string())], rebuild: Rebuild::NotTried });
            }
        };
        let mut stale = self.compare_manifest(&sources, &manifest)?;
        let texts = self.compare_files(&manifest, &mut stale);
        let rebuild = if stale.is_empty() {
            self.compare_rebuilt(&sources, &manifest, &texts, &mut stale)?
        } else {
            Rebuild::NotTried
        };
        Ok(Check { stale, rebuild })
    }

    fn sources(&self) -> Result<Sources, BuildError> {
        if self.archs.is_empty() {
            return Err(BuildError::NoArch);
        }
        Sources::of(&self.crate_dir)
    }

    fn hash(&self, sources: &Sources) -> Result<String, BuildError> {
        let mut settings = recipe::settings(compiler::CoreLibrary::Sources);
        settings.push(format!("format {FORMAT}"));
        settings.extend(self.archs.iter().map(Arch::to_string));
        sources.hash(&settings)
    }

    /// The record and the text of each PTX.
    fn compile(&self, sources: &Sources, compiler: &Compiler) -> Result<Vec<(Target, String)>, BuildError> {
        if let Some(&arch) = self.archs.iter().find(|&&arch| !compiler.supports(arch)) {
            let rustc = compiler.id.rustc.clone();
            return Err(BuildError::UnknownArch { arch, rustc });
        }
        let texts = recipe::compile_all(sources, compiler, &self.archs)?;
        let file = |arch| format!("{}.{arch}.ptx", sources.library);
        Ok(self.archs.iter().zip(texts).map(|(&arch, text)| (Target::of(arch, file(arch), &text), text)).collect())
    }

    fn compare_manifest(&self, sources: &Sources, manifest: &Manifest) -> Result<Vec<Stale>, BuildError> {
        let mut stale = Vec::new();
        if manifest.format != FORMAT {
            stale.push(Stale::Format { expected: FORMAT, actual: manifest.format });
        }
        let expected = check::targets(&sources.package, self.archs.iter().copied());
        let listed = manifest.targets.iter().map(|target| target.arch);
        let actual = check::targets(&manifest.package, listed);
        if expected != actual {
            stale.push(Stale::Targets { expected, actual });
        }
        let actual = self.hash(sources)?;
        if actual != manifest.sources {
            stale.push(Stale::Sources { expected: manifest.sources.clone(), actual });
        }
        Ok(stale)
    }

    /// The text of each PTX that is as the manifest says; the others are stale.
    fn compare_files(&self, manifest: &Manifest, stale: &mut Vec<Stale>) -> Vec<String> {
        let mut texts = Vec::new();
        for target in &manifest.targets {
            let file = target.file.clone();
            match fs::read_to_string(self.out_dir.join(&file)) {
                Err(error) => stale.push(Stale::Missing { file, message: error.to_string() }),
                Ok(text) => {
                    let found = Target::of(target.arch, file.clone(), &text);
                    if found.sha256 != target.sha256 {
                        stale.push(Stale::Changed { file, expected: target.sha256.clone(), actual: found.sha256 });
                    } else if found != *target {
                        stale.push(Stale::Described { file });
                    }
                    texts.push(text);
                }
            }
        }
        texts
    }

    fn compare_rebuilt(
        &self,
        sources: &Sources,
        manifest: &Manifest,
        texts: &[String],
        stale: &mut Vec<Stale>,
    ) -> Result<Rebuild, BuildError> {
        let search = compiler::search();
        if search.capable.is_empty() {
            return Ok(Rebuild::NoCompiler(Box::new(search)));
        }
        let same = |compiler: &&Compiler| compiler.id == manifest.compiler;
        let Some(compiler) = search.capable.iter().find(same) else {
            return Ok(Rebuild::OtherCompiler {
                expected: manifest.compiler.clone(),
                found: search.capable.into_iter().map(|one| one.id).collect(),
            });
        };
        let built = self.compile(sources, compiler)?;
        for ((target, rebuilt), committed) in built.into_iter().zip(texts) {
            if rebuilt != *committed {
                stale.push(Stale::Rebuilt { file: target.file });
            }
        }
        let id = manifest.compiler.clone();
        Ok(if stale.is_empty() { Rebuild::Identical(id) } else { Rebuild::Different(id) })
    }
}
