//! NumPy's `.npz`: a zip archive with one `.npy` a member.
//!
//! `file.npz` means its only table: the only member of numbers with two axes or more, or, where none has two, the only
//! one with one axis. Members that hold anything else (text, Python objects, records, booleans) do not count. `file.npz:x` means
//! the member `x`. A member is unpacked only up to the length that its own header justifies, so a small archive cannot
//! fill the memory with zeros.

use std::io::{BufReader, BufWriter, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{Array, npy, open_regular};
use crate::{Error, Result};

/// Deflate packs 1032 bytes into one at best (zlib's technical details).
pub(super) const DEFLATE_AT_BEST: u64 = 1032;

/// What the name of an array's file has behind the name of the array.
const ENDING: &str = ".npy";

/// `file.npz:member` taken apart; the member is `None` where none is named.
pub fn split_member(path: &Path) -> (PathBuf, Option<&str>) {
    const MARK: &str = ".npz:";
    if let Some(text) = path.to_str()
        && let Some(at) = text.to_ascii_lowercase().find(MARK)
    {
        let end = at + MARK.len();
        return (text[..end - 1].into(), Some(&text[end..]));
    }
    (path.to_owned(), None)
}

/// The members that are written: the numbers, and the names of their columns.
const NUMBERS: &str = "x";
const COLUMNS: &str = "columns";

/// Packs the `.npy` of a table, and the names of its columns where there are any, into an archive. The same bytes whenever
/// it is written.
pub(super) fn pack<W: Write + Seek>(out: W, numbers: &mut impl Read, names: &[String]) -> std::io::Result<W> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
    let mut archive = ZipWriter::new(BufWriter::new(out));
    archive.start_file(format!("{NUMBERS}{ENDING}"), options)?;
    std::io::copy(numbers, &mut archive)?;
    if !names.is_empty() {
        archive.start_file(format!("{COLUMNS}{ENDING}"), options)?;
        npy::put_text(&mut archive, names)?;
    }
    archive.finish()?.into_inner().map_err(|e| e.into_error())
}

/// Reads one table of an archive.
///
/// # Errors
/// [`Error::Read`] for a damaged archive, a member that is missing or not a table, and where several
/// members could be meant.
pub fn read(path: &Path) -> Result<Array> {
    let (place, bytes) = member(path)?;
    npy::parse(&place, &bytes)
}

/// The unpacked `.npy` of the table that [`read`] reads, and its name for messages.
///
/// # Errors
/// As [`read`].
pub(super) fn member(path: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let (file, member) = split_member(path);
    let (opened, length) = open_regular(&file)?;
    table(&file, BufReader::new(opened), length, member)
}

/// Parses an archive held in memory; `path` is only for the messages.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, bytes: &[u8], member: Option<&str>) -> Result<Array> {
    let (place, bytes) = table(path, Cursor::new(bytes), bytes.len() as u64, member)?;
    npy::parse(&place, &bytes)
}

/// The table among the members of an archive of `packed` bytes: its name, and its `.npy`.
fn table(path: &Path, file: impl Read + Seek, packed: u64, member: Option<&str>) -> Result<(PathBuf, Vec<u8>)> {
    let mut archive = ZipArchive::new(file).map_err(|e| damaged(path, e))?;
    // `numpy.load` counts a member as an array if its name ends in lower-case `.npy`. A name that is not text does not
    // count.
    let files = archive.file_names().flatten();
    let mut names: Vec<String> = files.filter_map(|name| name.strip_suffix(ENDING).map(str::to_owned)).collect();
    names.sort();
    let listed = names.join("`, `");
    let example = format!("{}:NAME", path.display());
    let chosen = match (member, &names[..]) {
        (_, []) => return Err(Error::read(path, "it holds no array", "save it with numpy.savez")),
        (Some(member), _) if names.iter().any(|name| name == member) => member.to_owned(),
        (Some(member), _) => {
            let problem = format!("it has no member `{member}`");
            return Err(Error::read(path, problem, format!("use one of its members: `{listed}`")));
        }
        (None, [only]) => only.clone(),
        (None, _) => {
            let (mut tables, mut vectors) = (Vec::new(), Vec::new());
            for name in &names {
                match axes(path, &mut archive, name, packed) {
                    Some(2..=4) => tables.push(name.clone()),
                    Some(1) => vectors.push(name.clone()),
                    _ => {}
                }
            }
            match (&tables[..], &vectors[..]) {
                ([only], _) | ([], [only]) => only.clone(),
                (several, _) => {
                    let problem = match several {
                        [] => format!("none of its members is a table: `{listed}`"),
                        several => format!("{} of its members are tables (`{}`)", several.len(), several.join("`, `")),
                    };
                    return Err(Error::read(path, problem, format!("name one member: {example}")));
                }
            }
        }
    };
    let place = path.with_file_name(format!("{}:{chosen}", file_name(path)));
    let mut member = archive.by_name(&(chosen + ENDING)).map_err(|e| damaged(path, e))?;
    let header = npy::read_header(&place, &mut member, unpacked(packed))?;
    // One byte more than declared shows that there are too many.
    let declared = header.declared(&place)?.map_or(0, |bytes| bytes.min(unpacked(packed)) + 1);
    let missing = declared.saturating_sub(header.bytes.len() as u64);
    let mut body = header.bytes;
    member.take(missing).read_to_end(&mut body).map_err(|e| damaged(path, e))?;
    Ok((place, body))
}

/// The axes of a member of numbers, or of images; `None` for any other.
fn axes(path: &Path, archive: &mut ZipArchive<impl Read + Seek>, name: &str, packed: u64) -> Option<usize> {
    let mut member = archive.by_name(&format!("{name}{ENDING}")).ok()?;
    let header = npy::read_header(path, &mut member, unpacked(packed)).ok()?;
    header.declared(path).ok()?;
    // Records and masks stand beside a table more often than they are one: they are read by their names.
    if !header.fields.is_empty() || header.descr.ends_with("b1") {
        return None;
    }
    let images = header.descr.ends_with("u1");
    Some(header.shape.len()).filter(|axes| *axes < 3 || images)
}

/// The most bytes that an archive of so many can hold.
fn unpacked(packed: u64) -> u64 {
    packed.saturating_mul(DEFLATE_AT_BEST)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::read(path, format!("it is not a valid .npz archive ({why})"), "save it again with numpy.savez")
}
