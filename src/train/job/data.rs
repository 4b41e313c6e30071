//! The data of a run, and the preprocessing of their columns.

use std::path::PathBuf;

use cnflow_kernels::ImageShape;
use serde::{Deserialize, Serialize};

use super::positive;
use crate::rows::{DataOptions, MissingRows, SplitRule, TableOptions};
use crate::transform::{BinNoise, ColumnKind, LevelScale};
use crate::{Error, Result, io};

/// What becomes of rows that lie far out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FarRows {
    /// They are left out of the training and of the validation set.
    #[default]
    LeaveOut,
    /// They are trained on like others.
    Keep,
}

impl std::str::FromStr for FarRows {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "leave-out" => Ok(Self::LeaveOut),
            "keep" => Ok(Self::Keep),
            _ => Err(Error::Unknown {
                kind: "treatment of far rows",
                name: text.into(),
                known: "leave-out, keep".into(),
            }),
        }
    }
}

/// What the columns are whose kind is not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnTypes {
    /// Positive or with heavy tails where held-out rows clearly gain by it ([`crate::fit::kind::choose`]), else plain.
    #[default]
    Auto,
    /// Plain.
    Plain,
}

impl std::str::FromStr for ColumnTypes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "plain" => Ok(Self::Plain),
            _ => Err(Error::Unknown { kind: "rule for column types", name: text.into(), known: "auto, plain".into() }),
        }
    }
}

/// The data of a run: `[data]` of its config.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSection {
    /// A toy, `digits`, or the path of a table or of images.
    pub source: String,
    /// How a table is divided: see [`split_rule`].
    pub split: String,
    /// Fixes a table's random split; left out: the job's seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// Copies of a row stay in one set of a table's random split. A run without this field was split without.
    pub copies_together: bool,
    /// The columns of a table that are modelled, in this order, by name, or by number from 0 as the file has them; all but
    /// the conditions and the weights where it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// The columns of a table that are left out, by name, or by number from 0 as the file has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Whether the first lines of texts hold the names of columns: of the table, and of the files of its split and its
    /// conditions.
    #[serde(skip_serializing_if = "io::Header::is_auto")]
    pub header: io::Header,
    /// What divides the cells of these texts: `,`, `;`, `tab`, `|` or `space`.
    #[serde(skip_serializing_if = "io::Separator::is_auto")]
    pub sep: io::Separator,
    /// The decimal mark of their numbers: `.` or `,`.
    #[serde(skip_serializing_if = "io::Decimal::is_point")]
    pub decimal: io::Decimal,
    /// Words of their missing cells, beside an empty cell, NA, NaN, null and the like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub na: Vec<String>,
    /// What their lines begin with that are skipped; left out: `#`; `none`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The order of the four axes of images.
    #[serde(skip_serializing_if = "io::Layout::is_auto")]
    pub layout: io::Layout,
    /// The shape of an image, where rows are images: filled in from the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageShape>,
    /// How the grey levels of images are mapped to real numbers.
    #[serde(skip_serializing_if = "is_default")]
    pub pixel_map: LevelScale,
    /// The noise within a grey level.
    #[serde(skip_serializing_if = "is_default")]
    pub pixel_noise: BinNoise,
    /// The columns of a table that are the context of its rows, as `NAME` or `NAME:KIND` (by number from 0 where they
    /// have no names; KIND is class or number); or one file of a row for each of the table's.
    pub condition: Vec<String>,
    /// How much each row of a table counts: the column that says it, by name, or by number from 0 as the file has it; or
    /// a file with a number for each row. Left out, each counts 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The types of columns that are not plain numbers: `NAME:KIND`, or `J:KIND` with J counted from 0; KIND is angle,
    /// unit, positive, heavy, integer or class, as [`ColumnKind`] reads it. `A,B,C:simplex` for columns that are the parts
    /// of a whole.
    pub columns: Vec<String>,
    /// What the columns are that `columns` does not name. A run without this field had plain ones.
    pub column_types: ColumnTypes,
    /// Columns are brought to zero mean and the deviation `spread` inside the model.
    pub standardise: bool,
    /// The deviation that the standardised columns get; left out: 2 for a velocity, else 1. Latents have 1; where the
    /// data are wider, a velocity resolves finer structure (2spirals after 5000 steps: excess 0.17 at 1, 0.048 at 2,
    /// 0.046 at 3). The pixels of images have 1 by their map, and no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// What becomes of rows that lie so far out that they ruin the fit of the others.
    pub far_rows: FarRows,
    /// What becomes of rows with a missing cell in a column that is used. A run without this field refused them.
    pub missing: MissingRows,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            source: "8gaussians".into(),
            split: "auto".into(),
            split_seed: None,
            copies_together: true,
            keep: Vec::new(),
            drop: Vec::new(),
            header: io::Header::Auto,
            sep: io::Separator::Auto,
            decimal: io::Decimal::Point,
            na: Vec::new(),
            comment: None,
            layout: io::Layout::Auto,
            image: None,
            pixel_map: LevelScale::default(),
            pixel_noise: BinNoise::default(),
            condition: Vec::new(),
            weights: None,
            columns: Vec::new(),
            column_types: ColumnTypes::default(),
            standardise: true,
            spread: None,
            far_rows: FarRows::default(),
            missing: MissingRows::default(),
        }
    }
}

impl DataSection {
    /// Rejects what has a meaning for images only, where rows are not images, and a deviation that images do not get.
    pub(super) fn check_images(&self) -> Result<()> {
        if self.image.is_some() && self.spread.is_some_and(|spread| spread != 1.0) {
            return Err(Error::invalid(
                "`data.spread` has no meaning for images: their pixels have deviation 1 together",
                "leave out `data.spread`",
            ));
        }
        let usual = Self::default();
        let set = [
            ("layout", self.layout != usual.layout),
            ("pixel_map", self.pixel_map != usual.pixel_map),
            ("pixel_noise", self.pixel_noise != usual.pixel_noise),
        ];
        match set.into_iter().find(|(_, set)| *set && self.image.is_none()) {
            None => Ok(()),
            Some((field, _)) => Err(Error::invalid(
                format!("`data.{field}` has no meaning for rows that are not images"),
                format!("leave out `data.{field}`, or give u8 images of shape [n, height, width]"),
            )),
        }
    }

    /// Validates the fields.
    pub(super) fn validate(&self) -> Result<()> {
        if let Some(spread) = self.spread.filter(|spread| !positive(*spread)) {
            return Err(Error::invalid(
                format!("a standard deviation of {spread} for the columns"),
                "set `data.spread` above 0, such as 2",
            ));
        }
        if !self.keep.is_empty() && !self.drop.is_empty() {
            let hint = "name the columns that are modelled in `data.keep`, or the others in `data.drop`";
            return Err(Error::invalid("`data.keep` and `data.drop` are both set", hint));
        }
        self.dialect().check()?;
        self.columns.iter().try_for_each(|text| match column_rule(text)? {
            (parts, ColumnKind::Simplex) => check_parts(text, parts),
            _ => Ok(()),
        })?;
        split_rule(&self.split).map(drop)
    }

    /// The columns of the kinds that `are` wanted, as they are called.
    fn called(&self, are: impl Fn(ColumnKind) -> bool) -> Vec<String> {
        let rules = self.columns.iter().filter_map(|text| column_rule(text).ok());
        rules.filter(|(_, kind)| are(*kind)).map(|(name, _)| name.to_owned()).collect()
    }

    /// How texts are written.
    pub fn dialect(&self) -> io::Dialect {
        let (header, sep, decimal) = (self.header, self.sep, self.decimal);
        io::Dialect { header, sep, decimal, na: self.na.clone(), comment: self.comment.clone() }
    }

    /// The same rows of other files: how texts are written is found out anew.
    pub fn forget_dialect(&mut self) {
        let usual = Self::default();
        (self.header, self.sep, self.decimal) = (usual.header, usual.sep, usual.decimal);
        (self.na, self.comment) = (usual.na, usual.comment);
    }

    /// How the rows are read.
    pub(super) fn options(&self) -> Result<DataOptions> {
        Ok(DataOptions {
            table: TableOptions {
                split: split_rule(&self.split)?,
                keep: self.keep.clone(),
                drop: self.drop.clone(),
                copies_together: self.copies_together,
                whole: self.called(|kind| matches!(kind, ColumnKind::Integer { .. } | ColumnKind::Class)),
                dialect: self.dialect(),
                layout: self.layout,
                missing: self.missing,
            },
            condition: self.condition.clone(),
            weights: self.weights.clone(),
            classes: self.called(|kind| kind == ColumnKind::Class),
            ..DataOptions::default()
        })
    }
}

/// The rule that a text stands for: `auto`, `column:NAME`, `0.8,0.1` (shares of training and validation), or
/// the path of a file of codes.
///
/// # Errors
/// [`Error::Invalid`] for a text that is none of them.
pub fn split_rule(text: &str) -> Result<SplitRule> {
    let none = |problem: String| {
        let hint = "give auto, column:NAME, the shares of training and validation as 0.8,0.1, or a file of codes";
        Err(Error::invalid(problem, hint))
    };
    if text == "auto" {
        return Ok(SplitRule::Auto);
    }
    if let Some(name) = text.strip_prefix("column:") {
        return if name.is_empty() {
            none("`data.split` `column:` names no column".into())
        } else {
            Ok(SplitRule::Column(name.into()))
        };
    }
    if let Some((train, valid)) = text.split_once(',')
        && let (Ok(train), Ok(valid)) = (train.trim().parse(), valid.trim().parse())
    {
        return Ok(SplitRule::Fractions { train, valid });
    }
    let path = PathBuf::from(text);
    if io::Format::of(&path).is_some() {
        Ok(SplitRule::File(path))
    } else {
        none(format!("unknown `data.split` `{text}`"))
    }
}

/// Refuses parts of a whole that are fewer than two, or the same.
fn check_parts(text: &str, parts: &str) -> Result<()> {
    let parts: Vec<&str> = parts.split(',').map(str::trim).collect();
    let hint = "name all parts of the whole, each once: a,b,c:simplex";
    if parts.len() < 2 || parts.contains(&"") {
        let named = parts.iter().filter(|part| !part.is_empty()).count() as u64;
        let problem = format!("`data.columns` {text}: a simplex of {}", crate::words::count(named, "part"));
        return Err(Error::invalid(problem, hint));
    }
    match parts.iter().enumerate().find(|(i, part)| parts[..*i].contains(part)) {
        None => Ok(()),
        Some((_, part)) => Err(Error::invalid(format!("`data.columns` {text}: `{part}` is a part twice"), hint)),
    }
}

/// `NAME:KIND`, as `l:angle` or `0:unit:0,100`; the name of a simplex has those of all its parts. A name may have colons itself: the kind begins behind the first colon
/// after which a kind can be read.
pub(crate) fn column_rule(text: &str) -> Result<(&str, ColumnKind)> {
    let places = text.char_indices().filter(|(at, c)| *at > 0 && *c == ':').map(|(at, _)| at);
    let mut problem = None;
    for at in places {
        match text[at + 1..].parse() {
            Ok(kind) => return Ok((&text[..at], kind)),
            // The last is the shortest, and so what was meant for a kind.
            Err(words) => problem = Some(words),
        }
    }
    Err(match problem {
        Some(words) => Error::invalid(
            format!("the column `{text}`: {words}"),
            "set a kind in `data.columns`: angle, unit, positive, heavy, integer, class or simplex",
        ),
        None => Error::invalid(
            format!("invalid `data.columns` `{text}`: expected NAME:KIND"),
            "write NAME:KIND, such as l:angle, 0:positive or share:unit",
        ),
    })
}
