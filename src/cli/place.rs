//! Whether two names are one file: `q.npy`, `./q.npy`, `a/../q.npy`, a link, a hard link, another case where the disk
//! has one.

use std::path::{Path, PathBuf};

use cnflow::io::npz;
use cnflow::{Error, Result};

use super::files::{CONFIG, METRICS, MODEL};
use super::interrupt::critical_section;

/// Links that are followed before they are taken for a cycle.
const LINKS: usize = 40;

/// A file, by whatever name.
struct Place {
    /// The folder without links, and the name in it.
    path: PathBuf,
    /// Device and number of the file, where there is one.
    #[cfg(unix)]
    inode: Option<(u64, u64)>,
}

impl Place {
    /// None where the folder does not exist.
    fn of(path: &Path) -> Option<Self> {
        let mut path = path.to_owned();
        // A link to a file that is not there yet stands for that file.
        for _ in 0..LINKS {
            match std::fs::read_link(&path) {
                Ok(target) => path = folder(&path).join(target),
                Err(_) => break,
            }
        }
        let place = std::fs::canonicalize(folder(&path)).ok()?.join(path.file_name()?);
        Some(Self {
            #[cfg(unix)]
            inode: std::fs::metadata(&place).ok().map(|about| {
                use std::os::unix::fs::MetadataExt as _;
                (about.dev(), about.ino())
            }),
            path: place,
        })
    }

    fn is(&self, other: &Self) -> bool {
        #[cfg(unix)]
        if self.inode.is_some() && self.inode == other.inode {
            return true;
        }
        self.path == other.path || self.differs_by_case(other) && one_case(folder(&self.path))
    }

    fn differs_by_case(&self, other: &Self) -> bool {
        let low = |path: &Path| path.to_string_lossy().to_lowercase();
        low(&self.path) == low(&other.path)
    }
}

/// Where the file lies.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether `A` and `a` are one name in a folder, by trial; `false` where no trial file can be made.
fn one_case(folder: &Path) -> bool {
    critical_section(|| {
        let file = tempfile::Builder::new().prefix(".cnf-a").tempfile_in(folder).ok()?;
        let name = file.path().file_name()?.to_string_lossy().to_uppercase();
        Some(folder.join(name).exists())
    })
    .unwrap_or(false)
}

/// A name, and where it leads.
type Named<'a> = (&'a Path, Option<Place>);

fn named<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<Named<'a>> {
    paths.into_iter().map(|path| (path, Place::of(path))).collect()
}

fn same(a: &Named<'_>, b: &Named<'_>) -> bool {
    match (&a.1, &b.1) {
        (Some(one), Some(other)) => one.is(other),
        _ => a.0 == b.0,
    }
}

/// Refuses outputs of which two are one file, and as [`spared`].
///
/// # Errors
/// [`Error::Invalid`] with both names.
pub fn apart(outputs: &[&Path], inputs: &[&Path]) -> Result<()> {
    let places = named(outputs.iter().copied());
    for (i, place) in places.iter().enumerate() {
        if let Some(other) = places[..i].iter().find(|other| same(other, place)) {
            return Err(Error::invalid(
                format!("two results would go to one file: {}", names(other.0, place.0)),
                "give each its own name",
            ));
        }
    }
    spared(outputs, inputs)
}

/// Refuses an output that is an input: a file that is read, an archive (`x.npz:a`), or a file of a run's folder.
///
/// # Errors
/// [`Error::Invalid`] with both names.
pub fn spared(outputs: &[&Path], inputs: &[&Path]) -> Result<()> {
    let read: Vec<PathBuf> = inputs.iter().flat_map(|path| files(path)).collect();
    let read = named(read.iter().map(PathBuf::as_path));
    for place in named(outputs.iter().copied()) {
        if let Some(input) = read.iter().find(|input| same(input, &place)) {
            return Err(Error::invalid(
                format!("the result would overwrite what is read: {}", names(input.0, place.0)),
                "give another name for the result",
            ));
        }
    }
    Ok(())
}

/// The files that are read under a name.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        return [MODEL, CONFIG, METRICS].map(|name| path.join(name)).to_vec();
    }
    let (archive, member) = npz::split_member(path);
    std::iter::once(path.to_owned()).chain(member.map(|_| archive.clone())).collect()
}

fn names(one: &Path, other: &Path) -> String {
    match one == other {
        true => format!("`{}`", one.display()),
        false => format!("`{}` is `{}`", other.display(), one.display()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_known_by_all_its_names_and_two_are_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("x.npy"), "x").unwrap();
        std::fs::write(at("y.npy"), "x").unwrap();
        std::fs::hard_link(at("x.npy"), at("hard.npy")).unwrap();
        for (link, target) in [("soft.npy", "x.npy"), ("far.npy", "soft.npy"), ("dangling.npy", "new.npy"), ("c", "a")]
        {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        std::os::unix::fs::symlink("round.npy", at("round.npy")).unwrap();
        let one = |a: &str, b: &str| apart(&[&at(a), &at(b)], &[]).is_err();
        for (a, b) in [
            ("x.npy", "x.npy"),
            ("x.npy", "./x.npy"),
            ("x.npy", "a/../x.npy"),
            ("x.npy", "hard.npy"),
            ("soft.npy", "hard.npy"),
            ("far.npy", "a/b/../../x.npy"),
            ("dangling.npy", "new.npy"),
            ("new.npy", "./new.npy"),
            ("a/new.npy", "c/new.npy"),
        ] {
            assert!(one(a, b) && one(b, a), "{a} is {b}");
            // As an input only what is there.
            assert_eq!(apart(&[&at(a)], &[&at(b)]).is_err(), one(a, b), "{a} overwrites {b}");
        }
        for (a, b) in [("x.npy", "y.npy"), ("new.npy", "a/new.npy"), ("x.npy", "new.npy"), ("round.npy", "x.npy")] {
            assert!(!one(a, b), "{a} is not {b}");
        }
        assert!(apart(&[&at("x.npy")], &[&at("y.npy"), &at("hard.npy")]).is_err());
        let error = apart(&[&at("z.npz")], &[&at("z.npz:member")]).unwrap_err().to_string();
        assert!(error.contains("overwrite what is read"), "{error}");
        assert!(apart(&[&at("a/model.safetensors")], &[&at("c")]).is_err(), "a run's model");
        // What the disk says of the case counts, not the system's name.
        std::fs::write(at("q.npy"), "").unwrap();
        assert_eq!(one("q.npy", "Q.npy"), at("Q.npy").exists());
        assert_eq!(one("new2.npy", "NEW2.npy"), at("Q.npy").exists());
        assert_eq!(
            std::fs::read_dir(folder.path())
                .unwrap()
                .filter(|e| { e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with(".cnf-")) })
                .count(),
            0,
            "trials leave nothing"
        );
    }
}
