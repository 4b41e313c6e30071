//! A page of the guide as text: its fences, its pictures, its links and its headings.

use std::path::{Path, PathBuf};

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file of a page.
pub fn file(page: &str) -> PathBuf {
    let folder = if page == "README" { root().to_owned() } else { root().join("docs") };
    folder.join(page).with_extension("md")
}

/// A fenced block, with the number of its first line counted from 0.
pub struct Block {
    pub language: String,
    pub lines: Vec<String>,
    pub first: usize,
    pub as_written: bool,
}

/// What a page has beside its prose.
#[derive(Default)]
pub struct Page {
    pub blocks: Vec<Block>,
    /// A file that the commands write, and the image that is a copy of it.
    pub pictures: Vec<(String, PathBuf)>,
    /// Lines outside fences.
    pub prose: Vec<String>,
}

pub fn parse(page: &str) -> Page {
    let text = std::fs::read_to_string(file(page)).unwrap();
    let (mut found, mut open, mut as_written, mut made) = (Page::default(), None::<Block>, false, None::<String>);
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => found.blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, Some(language)) => {
                let (language, lines) = (language.to_owned(), Vec::new());
                open = Some(Block { language, lines, first: number + 1, as_written: std::mem::take(&mut as_written) });
            }
            (None, None) => {
                as_written |= line == "<!-- guide: as written -->";
                if let Some(rest) = line.strip_prefix("<!-- picture: ") {
                    made = Some(rest.strip_suffix(" -->").unwrap().to_owned());
                } else if let Some(made) = made.take() {
                    let [image] = &links(line)[..] else { panic!("{page}: no image below the picture `{made}`") };
                    found.pictures.push((made, file(page).parent().unwrap().join(image)));
                }
                found.prose.push(line.to_owned());
            }
        }
    }
    assert!(open.is_none(), "{page}: a fence is not closed");
    found
}

/// The targets of the links in a line.
pub fn links(line: &str) -> Vec<String> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// The anchor that a heading has on a page: lower case, hyphens for blanks, no other signs.
pub fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.replace(' ', "-").chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}
