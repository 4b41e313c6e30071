//! Which method makes the steps: an explicit one on lanes, or an implicit one, trajectory by trajectory.

use std::fmt;
use std::str::FromStr;

use crate::error::SolveError;
use crate::gauss::{Gauss, RULES};
use crate::methods;
use crate::tableau::Tableau;

/// An integration method.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// A Runge-Kutta method: many trajectories at a time, in `f32` or `f64`.
    Explicit(&'static Tableau),
    /// One trajectory at a time, in `f64`, for a field with [tangents](crate::VectorField::tangents); needs the feature
    /// `implicit`.
    Implicit(Implicit),
}

/// The implicit methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Implicit {
    /// Backward differentiation of variable order, 1 to 5.  Ref: Shampine & Reichelt (1997).
    Bdf,
    /// Trapezoid and BDF2 in one L-stable step of order 2.  Ref: Bank et al. (1985).
    TrBdf2,
    /// An L-stable singly diagonally implicit method of order 3 with an explicit first stage.
    /// Ref: Jørgensen, Kristensen & Thomsen (2018).
    Esdirk34,
}

/// Degree in θ of every implicit method's dense output, or more: [`crate::Quadrature`] keeps one knot more than that.
const IMPLICIT_DEGREE: usize = 7;

impl Implicit {
    /// Every one of them.
    pub const ALL: [Implicit; 3] = [Implicit::Bdf, Implicit::TrBdf2, Implicit::Esdirk34];

    /// The name, as users type it.
    pub fn name(self) -> &'static str {
        match self {
            Implicit::Bdf => "bdf",
            Implicit::TrBdf2 => "tr_bdf2",
            Implicit::Esdirk34 => "esdirk34",
        }
    }
}

impl Method {
    /// Every method that this build can solve with: the explicit ones in the order of [`methods::ALL`], then the
    /// implicit ones where the feature `implicit` is on.
    pub fn all() -> impl Iterator<Item = Method> {
        let implicit: &[Implicit] = if cfg!(feature = "implicit") { &Implicit::ALL } else { &[] };
        methods::ALL.iter().map(|m| Method::Explicit(m)).chain(implicit.iter().map(|m| Method::Implicit(*m)))
    }

    /// The names of [`Method::all`].
    pub fn names() -> Vec<&'static str> {
        Self::all().map(Method::name).collect()
    }

    /// The method of that name.
    ///
    /// # Errors
    /// [`SolveError::UnknownMethod`], which lists the names; [`SolveError::Unsupported`] for an implicit method without
    /// the feature `implicit`.
    pub fn named(name: &str) -> Result<Self, SolveError> {
        if let Some(method) = Self::all().find(|method| method.name() == name) {
            return Ok(method);
        }
        match Implicit::ALL.into_iter().find(|method| method.name() == name) {
            Some(method) => Err(SolveError::Unsupported { method: method.name(), needs: "the feature `implicit`" }),
            None => Err(SolveError::UnknownMethod { name: name.to_owned(), known: Self::names().join(", ") }),
        }
    }

    /// The name, as users type it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Explicit(tableau) => tableau.name,
            Method::Implicit(method) => method.name(),
        }
    }

    /// The table of an explicit method.
    pub fn tableau(self) -> Option<&'static Tableau> {
        match self {
            Method::Explicit(tableau) => Some(tableau),
            Method::Implicit(_) => None,
        }
    }

    /// The method controls its steps by an error estimate. Without one it takes equal steps only.
    pub fn adaptive(self) -> bool {
        self.tableau().is_none_or(Tableau::adaptive)
    }

    /// As [`Tableau::longest_gap`]; a whole step for an implicit method.
    pub fn longest_gap(self) -> f64 {
        self.tableau().map_or(1.0, Tableau::longest_gap)
    }

    /// The Gauss rule for a [`crate::Quadrature`] along the path, whose error is no larger than the path's.
    pub fn rule(self) -> &'static Gauss {
        self.tableau().map_or(&RULES[1], |tableau| Gauss::for_order(tableau.order))
    }

    /// Degree in θ of the dense output, for a [`crate::Quadrature`].
    pub fn dense_degree(self) -> usize {
        self.tableau().map_or(IMPLICIT_DEGREE, Tableau::dense_degree)
    }
}

impl From<&'static Tableau> for Method {
    fn from(tableau: &'static Tableau) -> Self {
        Self::Explicit(tableau)
    }
}

impl From<Implicit> for Method {
    fn from(method: Implicit) -> Self {
        Self::Implicit(method)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = SolveError;

    fn from_str(name: &str) -> Result<Self, SolveError> {
        Self::named(name)
    }
}

impl fmt::Display for Implicit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
