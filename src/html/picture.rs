//! Pictures inside of the page, and how large they are, so that the page does not jump while they are decoded.

use crate::base64::base64;

/// A picture as the bytes of its file.
#[derive(Clone, Debug)]
pub struct Image {
    /// Which kind of file.
    pub mime: Mime,
    /// The whole file.
    pub bytes: Vec<u8>,
}

/// The kinds of pictures that a page can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mime {
    /// `image/png`
    Png,
    /// `image/svg+xml`; scripts in it do not run and its links are not followed.
    Svg,
}

impl Image {
    /// The address that holds the picture itself.
    pub(super) fn address(&self) -> String {
        let mime = match self.mime {
            Mime::Png => "image/png",
            Mime::Svg => "image/svg+xml",
        };
        format!("data:{mime};base64,{}", base64(&self.bytes))
    }

    /// Width and height in pixels, where the file states them.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        let (w, h) = match self.mime {
            // The header chunk comes first. Ref: PNG specification, section 5.
            Mime::Png => {
                let header = self.bytes.get(12..24)?;
                let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
                if &header[..4] != b"IHDR" {
                    return None;
                }
                (number(4)?, number(8)?)
            }
            Mime::Svg => {
                let head = &self.bytes[..self.bytes.len().min(4096)];
                let text = String::from_utf8_lossy(head);
                let tag = text[text.find("<svg")?..].split('>').next()?;
                (side(tag, " width=\"")?, side(tag, " height=\"")?)
            }
        };
        (w > 0 && h > 0).then_some((w, h))
    }
}

/// An attribute in whole pixels.
fn side(tag: &str, name: &str) -> Option<u32> {
    let value = &tag[tag.find(name)? + name.len()..];
    value.split('"').next()?.trim_end_matches("px").parse::<f64>().ok().map(|v| v.round() as u32)
}
