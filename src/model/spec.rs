//! A flow as data: a base, an architecture and the preprocessing, and how they become a chain of bijections.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::continuous::SolverSpec;
use crate::discrete::DiscreteSpec;
use crate::model::{Architecture, BaseFlow};
use crate::names::are_given;
use crate::transform::condition::Range;
use crate::transform::{
    Base, Bijection, ClassTable, Column, Columns, Condition, ContextColumn, Dequantise, Histogram, Mapped, Mixture,
    Pixels, Simplex, Simplexes, StandardNormal, Standardise,
};
use crate::velocity::VelocitySpec;

/// Numbers that stand for words are below this: a file that claims more is damaged, for a column has a thousand at most.
const MOST_PLACES: i64 = 1 << 16;

/// What a flow is made of, without its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct FlowSpec {
    /// The part that is trained.
    pub architecture: Architecture,
    /// How a velocity is integrated; other cores ignore it.
    pub solver: SolverSpec,
    /// The data's columns are standardised inside the model: their means and deviations.
    pub standardise: Option<Moments>,
    /// What the data's columns are, where one is not plain: angles, shares, positive numbers. The standardisation is on
    /// their real-line side.
    pub columns: Option<Vec<Column>>,
    /// Rows are images of whole grey levels, which become real numbers by noise and a map of the levels.
    pub pixels: Option<Pixels>,
    /// The architecture begins at this mixture, not at the standard normal; the latent is standard normal all the same.
    pub base: Option<Mixture>,
    /// The architecture begins at the distribution of this discrete flow, and moves its latents.
    pub base_flow: Option<BaseFlow>,
    /// How conditions are encoded for the architecture; none where it takes them as they are.
    pub condition: Option<Condition>,
    /// The columns of classes that the model gives out, and their table: the architecture has them as its conditions, which
    /// are then no conditions of the model. The standardisation and the kinds of columns are those of the others.
    pub classes: Option<ClassTable>,
    /// Columns that are the parts of a whole, their places counted without the columns of classes: the architecture has their
    /// log-ratios, one fewer. The standardisation and the kinds of columns are those of the log-ratios and the others.
    pub simplexes: Vec<Simplex>,
    /// The names of the data's columns, one a column; empty where the training data had none. No number depends on
    /// them.
    pub names: Vec<String>,
    /// Where the conditions of the training rows lay, one a column of the condition; none for classes, empty where
    /// unknown. No number depends on them.
    pub condition_ranges: Vec<Option<Range>>,
    /// How often each class of a column of the condition is in the training data, one list a column; an empty one for
    /// numbers, none where unknown. No density depends on them.
    pub class_counts: Vec<Vec<u64>>,
    /// The words of the classes of each column of the condition, one a class in their order; empty where classes are
    /// numbers, none where no column has words. No density depends on them.
    pub class_words: Vec<Vec<String>>,
}

/// A [`FlowSpec`] as text holds it: one of the cores by its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    velocity: Option<VelocitySpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    discrete: Option<DiscreteSpec>,
    /// d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    still: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    histogram: Option<Histogram>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    solver: Option<SolverSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standardise: Option<Moments>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<Column>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pixels: Option<Pixels>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<Mixture>,
    /// Its θ are tensors of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_flow: Option<DiscreteSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<ClassTable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    simplexes: Vec<Simplex>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    condition_ranges: Vec<Option<Range>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    class_counts: Vec<Vec<u64>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    class_words: Vec<Vec<String>>,
}

impl From<FlowSpec> for Written {
    fn from(spec: FlowSpec) -> Self {
        let FlowSpec { architecture, solver, standardise, columns, pixels, base, base_flow, condition, .. } = spec;
        let (names, condition_ranges) = (spec.names, spec.condition_ranges);
        let (class_counts, class_words, classes) = (spec.class_counts, spec.class_words, spec.classes);
        let mut written = Self {
            velocity: None,
            discrete: None,
            still: None,
            histogram: None,
            solver: None,
            standardise,
            columns,
            pixels,
            base,
            base_flow: base_flow.map(|flow| flow.layers),
            condition,
            classes,
            simplexes: spec.simplexes,
            names,
            condition_ranges,
            class_counts,
            class_words,
        };
        match architecture {
            Architecture::Velocity(spec) => (written.velocity, written.solver) = (Some(spec), Some(solver)),
            Architecture::Discrete(spec) => written.discrete = Some(spec),
            Architecture::Identity { dim } => written.still = Some(dim),
            Architecture::Histogram(table) => written.histogram = Some(table),
        }
        written
    }
}

impl TryFrom<Written> for FlowSpec {
    type Error = String;

    fn try_from(written: Written) -> std::result::Result<Self, String> {
        let Written { velocity, discrete, still, histogram, solver, standardise, columns, base, condition, .. } =
            written;
        let (pixels, names, condition_ranges) = (written.pixels, written.names, written.condition_ranges);
        let (class_counts, class_words, classes) = (written.class_counts, written.class_words, written.classes);
        let base_flow = written.base_flow.map(|layers| BaseFlow { layers, theta: [].into() });
        let architecture = match (velocity, discrete, still, histogram) {
            (Some(spec), None, None, None) => Architecture::Velocity(spec),
            (None, Some(spec), None, None) => Architecture::Discrete(spec),
            (None, None, Some(dim), None) => Architecture::Identity { dim },
            (None, None, None, Some(table)) => Architecture::Histogram(table),
            _ => return Err("a flow has exactly one of `velocity`, `discrete`, `still` and `histogram`".into()),
        };
        let solver = match (solver, architecture.as_velocity()) {
            (None, Some(_)) => return Err("missing field `solver`".into()),
            (solver, _) => solver.unwrap_or_default(),
        };
        Ok(Self {
            architecture,
            solver,
            standardise,
            columns,
            pixels,
            base,
            base_flow,
            condition,
            classes,
            simplexes: written.simplexes,
            names,
            condition_ranges,
            class_counts,
            class_words,
        })
    }
}

/// Means and standard deviations of columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// One a column.
    pub mean: Vec<f64>,
    /// One a column, above 0.
    pub std: Vec<f64>,
}

impl From<&Standardise> for Moments {
    fn from(map: &Standardise) -> Self {
        Self { mean: map.mean().to_vec(), std: map.std().to_vec() }
    }
}

impl FlowSpec {
    /// A velocity and its solver, and nothing else.
    pub fn plain(velocity: VelocitySpec, solver: SolverSpec) -> Self {
        Self { solver, ..Self::bare(Architecture::Velocity(velocity)) }
    }

    /// An architecture and nothing else; a velocity has the usual solver.
    pub fn bare(architecture: Architecture) -> Self {
        Self {
            architecture,
            solver: SolverSpec::default(),
            standardise: None,
            columns: None,
            pixels: None,
            base: None,
            base_flow: None,
            condition: None,
            classes: None,
            simplexes: Vec::new(),
            names: Vec::new(),
            condition_ranges: Vec::new(),
            class_counts: Vec::new(),
            class_words: Vec::new(),
        }
    }

    /// d, with the columns of classes and all parts of simplexes.
    pub fn dim(&self) -> usize {
        self.dim_under_classes() + self.classes.as_ref().map_or(0, |table| table.places.len())
    }

    /// d without the columns of classes.
    fn dim_under_classes(&self) -> usize {
        self.architecture.dim() + self.simplexes.len()
    }

    /// Whether a discrete flow in it has a layer that is not learnt.
    pub(crate) fn has_fixed_layers(&self) -> bool {
        let own = self.architecture.as_discrete();
        own.into_iter().chain(self.base_flow.as_ref().map(|base| &base.layers)).any(|spec| !spec.fixed().is_empty())
    }

    /// Whether it has a density of all its columns: neither classes nor simplexes have one.
    pub fn is_dense(&self) -> bool {
        self.classes.is_none() && self.simplexes.is_empty()
    }

    /// The columns that the normal density of the latents does not count, rising: classes, and the last parts of simplexes.
    pub fn apart(&self) -> Vec<usize> {
        let mut last: Vec<usize> = self.simplexes.iter().filter_map(|one| one.places.last().copied()).collect();
        last.sort_unstable();
        self.classes.as_ref().map_or_else(|| last.clone(), |table| table.and_apart(&last))
    }

    /// The columns of latents `[n, d]` that are normal, and their number: classes are the same on both sides, and the last
    /// part of a simplex has no latent.
    pub fn normal_latents<'a>(&self, z: &'a [f64]) -> (Cow<'a, [f64]>, usize) {
        let (d, apart) = (self.dim(), self.apart());
        let counts = |i: &usize| apart.binary_search(&(i % d)).is_err();
        match apart.len() {
            0 => (Cow::Borrowed(z), d),
            m => ((0..z.len()).filter(counts).map(|i| z[i]).collect(), d - m),
        }
    }

    /// The simplexes among the columns without classes; none where there are none.
    ///
    /// # Errors
    /// As [`Simplexes::new`].
    pub fn parts(&self) -> Result<Option<Simplexes>> {
        let some = (!self.simplexes.is_empty()).then(|| self.simplexes.clone());
        some.map(|all| Simplexes::new(all, self.dim_under_classes())).transpose()
    }

    /// The flow under the classes of the log-ratios in place of simplexes; other flows stay as they are.
    ///
    /// # Errors
    /// As [`FlowSpec::parts`].
    pub fn of_log_ratios(&self) -> Result<Self> {
        let Some(parts) = self.parts()? else { return Ok(self.clone()) };
        let under = self.under_classes();
        let names = if under.names.is_empty() { Vec::new() } else { parts.inner_names(&under.names) };
        Ok(Self { simplexes: Vec::new(), names, ..under })
    }

    /// How the conditions are encoded that the user gives: none where the architecture has columns of classes instead.
    pub fn given(&self) -> Option<&Condition> {
        self.condition.as_ref().filter(|_| self.classes.is_none())
    }

    /// The flow of the other columns under the classes; other flows stay as they are.
    #[must_use]
    pub fn under_classes(&self) -> Self {
        let Some(table) = &self.classes else { return self.clone() };
        let other = |(j, name): (usize, &String)| table.places.binary_search(&j).is_err().then(|| name.clone());
        Self { classes: None, names: self.names.iter().enumerate().filter_map(other).collect(), ..self.clone() }
    }

    /// The number of conditioning columns, as the user gives them.
    pub fn condition_dim(&self) -> usize {
        if self.classes.is_some() {
            return 0;
        }
        self.condition.as_ref().map_or(self.architecture.condition_dim(), |condition| condition.columns.len())
    }

    /// The names of the conditioning columns, where a file gave them: the numbers of unnamed columns are not names.
    pub fn condition_names(&self) -> &[String] {
        let names = self.given().map_or(&[][..], |condition| &condition.names);
        // Numbers may be names where the columns beside them have some.
        if are_given(names) || !self.names.is_empty() { names } else { &[] }
    }

    /// The words of each column of the condition with the numbers that stand for them; an empty list where its values are
    /// numbers.
    pub fn condition_words(&self) -> Vec<Vec<(String, f64)>> {
        if self.classes.is_some() { Vec::new() } else { self.words_of_classes() }
    }

    /// The words of each column of the data with the numbers that stand for them; an empty list where it has numbers.
    pub fn column_words(&self) -> Vec<Vec<(String, f64)>> {
        let mut all = vec![Vec::new(); self.dim()];
        if let Some(table) = &self.classes {
            table.places.iter().zip(self.words_of_classes()).for_each(|(place, words)| all[*place] = words);
        }
        all
    }

    fn words_of_classes(&self) -> Vec<Vec<(String, f64)>> {
        let columns = self.condition.as_ref().map_or(&[][..], |condition| &condition.columns);
        let of = |(j, column): (usize, &ContextColumn)| match (column, self.class_words.get(j)) {
            (ContextColumn::Class { classes }, Some(words)) => {
                words.iter().cloned().zip(classes.iter().map(|class| *class as f64)).collect()
            }
            _ => Vec::new(),
        };
        columns.iter().enumerate().map(of).collect()
    }

    /// What the classes of a column of the condition are called: their words, or their numbers; nothing for a column of
    /// numbers.
    pub fn class_labels(&self, column: usize) -> Vec<String> {
        let given = self.condition.as_ref().and_then(|condition| condition.columns.get(column));
        match (given, self.class_words.get(column).filter(|words| !words.is_empty())) {
            (Some(ContextColumn::Class { .. }), Some(words)) => words.clone(),
            (Some(ContextColumn::Class { classes }), None) => classes.iter().map(i64::to_string).collect(),
            _ => Vec::new(),
        }
    }

    /// What a value of a column of the condition is called: the word of its class, or the number.
    pub fn condition_label(&self, column: usize, value: f64) -> String {
        let words = self.condition_words();
        let word = words.get(column).and_then(|words| words.iter().find(|(_, number)| *number == value));
        word.map_or_else(|| crate::words::exact(value), |(word, _)| word.clone())
    }

    /// The distribution that the architecture starts from, on its own side of [`FlowSpec::base_flow`].
    pub fn base(&self) -> Base {
        match &self.base {
            None => Base::Normal(StandardNormal::new(self.architecture.dim())),
            Some(mixture) => Base::Mixture(mixture.clone()),
        }
    }

    /// Conditions `[n, c]` (row-major) as the architecture takes them.
    ///
    /// # Errors
    /// As [`Condition::encode`].
    pub fn encoded<'a>(&self, rows: &'a [f64]) -> Result<Cow<'a, [f64]>> {
        self.condition.as_ref().map_or(Ok(Cow::Borrowed(rows)), |condition| Ok(Cow::Owned(condition.encode(rows)?)))
    }

    /// The standardisation as a map, where there is one.
    ///
    /// # Errors
    /// As [`Standardise::new`].
    pub(super) fn standardisation(&self) -> Result<Option<Standardise>> {
        let one = |Moments { mean, std }: &Moments| Standardise::new(mean.clone(), std.clone());
        self.standardise.as_ref().map(one).transpose()
    }

    /// The kinds of columns as a map, where one is not plain.
    ///
    /// # Errors
    /// As [`Columns::new`].
    pub(super) fn column_kinds(&self) -> Result<Option<Columns>> {
        self.columns.as_ref().map(|columns| Columns::new(columns.clone())).transpose()
    }

    /// The layer that gives whole numbers their noise, that of a seed and a draw; none where no column has whole numbers.
    pub(super) fn whole_numbers(&self, seed: u64, draw: u64) -> Result<Option<Dequantise>> {
        let Some(columns) = self.columns.as_ref().filter(|_| self.has_integers()) else { return Ok(None) };
        let whole = columns.iter().map(Column::whole_numbers).collect();
        Ok(Some(Dequantise::each(whole)?.drawn(seed, draw)))
    }

    /// Whether a column of the data has the type integer.
    pub fn has_integers(&self) -> bool {
        self.columns.iter().flatten().any(|column| column.whole_numbers().is_some())
    }

    /// Whether whole numbers get noise: pixels, or columns of the type integer. log p is then that of the whole numbers,
    /// and one draw of the noise gives a lower bound of it on average.
    pub fn dequantises(&self) -> bool {
        self.pixels.is_some() || self.has_integers()
    }

    /// The flow of the real numbers behind the noise of columns of whole numbers: a density on a grid is that of these.
    #[must_use]
    pub fn of_real_numbers(&self) -> Self {
        let columns = self.columns.as_ref().map(|columns| columns.iter().cloned().map(Column::real).collect());
        Self { columns, ..self.clone() }
    }

    /// Rows of the data `x` (`[n, d]`) with the noise of a seed in their columns of whole numbers; NaN where a number is not
    /// one of its column.
    ///
    /// # Errors
    /// [`crate::Error::Dimension`] for incomplete rows.
    pub fn with_noise(&self, x: Vec<f64>, seed: u64) -> Result<Vec<f64>> {
        let Some(whole) = self.whole_numbers(seed, 0)? else { return Ok(x) };
        let mut rows = Mapped::points(x);
        whole.inverse(&mut rows, &[])?;
        Ok(rows.y)
    }

    /// The preprocessing: the layers between the architecture and the data, the architecture's side first. They have no
    /// trained parameters. Whole numbers get the noise of the solver's seed.
    ///
    /// # Errors
    /// As [`Standardise::new`], [`Columns::new`] and [`Pixels::layers`].
    pub fn preprocessing(&self) -> Result<Vec<Arc<dyn Bijection>>> {
        self.preprocessing_drawn(self.solver.probe_seed, 0)
    }

    /// As [`FlowSpec::preprocessing`], with the noise of whole numbers of this seed and draw.
    pub(crate) fn preprocessing_drawn(&self, seed: u64, draw: u64) -> Result<Vec<Arc<dyn Bijection>>> {
        let mut layers: Vec<Arc<dyn Bijection>> = Vec::new();
        if let Some(standardise) = self.standardisation()? {
            layers.push(Arc::new(standardise));
        }
        if let Some(columns) = self.column_kinds()? {
            layers.push(Arc::new(columns));
        }
        if let Some(whole) = self.whole_numbers(seed, draw)? {
            layers.push(Arc::new(whole));
        }
        if let Some(pixels) = &self.pixels {
            layers.extend(pixels.layers(seed, draw)?.bijections());
        }
        Ok(layers)
    }

    /// Whether there is a list of counts for each column of the condition, with a count for each of its classes.
    fn class_counts_fit(&self) -> bool {
        let columns = self.condition.as_ref().map_or(&[][..], |condition| &condition.columns);
        let fits = |(counts, column): (&Vec<u64>, &ContextColumn)| match column {
            ContextColumn::Number { .. } => counts.is_empty(),
            ContextColumn::Class { classes } => counts.len() == classes.len() && counts.iter().any(|n| *n > 0),
        };
        columns.len() == self.class_counts.len() && self.class_counts.iter().zip(columns).all(fits)
    }

    /// Whether there is a list of words for each column of the condition, with a word for each class or none, and no word
    /// twice. Numbers that stand for words are places in a list.
    fn class_words_fit(&self) -> bool {
        let columns = self.condition.as_ref().map_or(&[][..], |condition| &condition.columns);
        let differ = |words: &[String]| words.iter().enumerate().all(|(i, word)| !words[..i].contains(word));
        let fits = |(words, column): (&Vec<String>, &ContextColumn)| match column {
            ContextColumn::Number { .. } => words.is_empty(),
            ContextColumn::Class { classes } => {
                let places = classes.iter().all(|class| (0..MOST_PLACES).contains(class));
                words.is_empty() || (words.len() == classes.len() && differ(words) && places)
            }
        };
        columns.len() == self.class_words.len() && self.class_words.iter().zip(columns).all(fits)
    }

    /// Whether all parts are valid and of one dimension.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        let d = self.architecture.dim();
        if let Some(table) = &self.classes
            && (!table.is_sound(self.dim())
                || self.pixels.is_some()
                || self.condition.as_ref().is_none_or(|condition| condition.columns.len() != table.places.len()))
        {
            return Err("its columns of classes do not fit the flow".into());
        }
        if !self.simplexes.is_empty() && (self.pixels.is_some() || self.parts().is_err()) {
            return Err("its simplexes do not fit the flow".into());
        }
        if let Some(Moments { mean, std }) = &self.standardise
            && (mean.len() != d || Standardise::new(mean.clone(), std.clone()).is_err())
        {
            return Err("its standardisation does not fit the flow".into());
        }
        if let Some(columns) = &self.columns
            && (columns.len() != d || Columns::new(columns.clone()).is_err())
        {
            return Err("its columns do not fit the flow".into());
        }
        if let Some(pixels) = &self.pixels
            && (pixels.validate().is_err() || pixels.dim() != d || self.columns.is_some())
        {
            return Err("its images do not fit the flow".into());
        }
        if let Some(condition) = &self.condition
            && (!condition.is_sound() || condition.width() != self.architecture.condition_dim())
        {
            return Err("its condition does not fit the flow".into());
        }
        if !self.names.is_empty() && self.names.len() != self.dim() {
            return Err("the names of its columns do not fit the flow".into());
        }
        if !self.condition_ranges.is_empty() && self.condition_ranges.len() != self.under_classes().condition_dim() {
            return Err("the ranges of its conditions do not fit the flow".into());
        }
        if !self.class_counts.is_empty() && !self.class_counts_fit() {
            return Err("the counts of its classes do not fit the flow".into());
        }
        if !self.class_words.is_empty() && !self.class_words_fit() {
            return Err("the words of its classes do not fit the flow".into());
        }
        if let Some(flow) = &self.base_flow
            && flow.check(d, self.architecture.condition_dim()).is_err()
        {
            return Err("its base flow does not fit the flow".into());
        }
        match &self.base {
            Some(base) if base.dim() != d => Err("its base distribution does not fit the flow".into()),
            _ => Ok(()),
        }
    }
}
