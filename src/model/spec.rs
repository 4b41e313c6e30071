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
    Base, Bijection, Column, Columns, Condition, ContextColumn, Histogram, Mixture, Pixels, StandardNormal, Standardise,
};
use crate::velocity::VelocitySpec;

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
    /// The names of the data's columns, one a column; empty where the training data had none. No number depends on
    /// them.
    pub names: Vec<String>,
    /// Where the conditions of the training rows lay, one a column of the condition; none for classes, empty where
    /// unknown. No number depends on them.
    pub condition_ranges: Vec<Option<Range>>,
    /// How often each class of a column of the condition is in the training data, one list a column; an empty one for
    /// numbers, none where unknown. No density depends on them.
    pub class_counts: Vec<Vec<u64>>,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    condition_ranges: Vec<Option<Range>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    class_counts: Vec<Vec<u64>>,
}

impl From<FlowSpec> for Written {
    fn from(spec: FlowSpec) -> Self {
        let FlowSpec { architecture, solver, standardise, columns, pixels, base, base_flow, condition, .. } = spec;
        let (names, condition_ranges, class_counts) = (spec.names, spec.condition_ranges, spec.class_counts);
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
            names,
            condition_ranges,
            class_counts,
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
        let class_counts = written.class_counts;
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
            names,
            condition_ranges,
            class_counts,
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
            names: Vec::new(),
            condition_ranges: Vec::new(),
            class_counts: Vec::new(),
        }
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.architecture.dim()
    }

    /// The number of conditioning columns, as the user gives them.
    pub fn condition_dim(&self) -> usize {
        self.condition.as_ref().map_or(self.architecture.condition_dim(), |condition| condition.columns.len())
    }

    /// The names of the conditioning columns, where a file gave them: the numbers of unnamed columns are not names.
    pub fn condition_names(&self) -> &[String] {
        let names = self.condition.as_ref().map_or(&[][..], |condition| &condition.names);
        // Numbers may be names where the columns beside them have some.
        if are_given(names) || !self.names.is_empty() { names } else { &[] }
    }

    /// The distribution that the architecture starts from, on its own side of [`FlowSpec::base_flow`].
    pub fn base(&self) -> Base {
        match &self.base {
            None => Base::Normal(StandardNormal::new(self.dim())),
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

    /// Whether all parts are valid and of one dimension.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        let d = self.dim();
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
        if !self.names.is_empty() && self.names.len() != d {
            return Err("the names of its columns do not fit the flow".into());
        }
        if !self.condition_ranges.is_empty() && self.condition_ranges.len() != self.condition_dim() {
            return Err("the ranges of its conditions do not fit the flow".into());
        }
        if !self.class_counts.is_empty() && !self.class_counts_fit() {
            return Err("the counts of its classes do not fit the flow".into());
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
