//! The losses and the held-out scores of a run, as its metrics.csv has them.

use cnflow::train::Criterion;

/// The losses and the held-out scores of a run, out of its metrics.csv.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// Step and mean loss. Where a likelihood followed upon a matching it is left out: the held-out scores show it.
    pub loss: Vec<(f64, f64)>,
    /// Step, negative log-likelihood and its standard error.
    pub held_out: Vec<(f64, f64, f64)>,
    /// Seconds and negative log-likelihood, where both are finite.
    pub timed: Vec<(f64, f64)>,
    /// The losses are negative log-likelihoods.
    pub loss_is_nll: bool,
}

impl Curves {
    /// Out of the text of a metrics.csv; columns are found by their names.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let column =
            |name: &str| names.iter().position(|n| *n == name).ok_or_else(|| format!("it has no column `{name}`"));
        let (step, loss) = (column("step")?, column("loss")?);
        let score = (column("valid_nll")?, column("valid_nll_se")?);
        let objective = column("objective")?;
        let seconds = column("seconds").ok();
        let mut first: Option<String> = None;
        let mut curves = Self::default();
        for (i, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
            let cells: Vec<&str> = line.split(',').collect();
            let number = |k: usize| {
                let cell = cells.get(k).ok_or_else(|| format!("line {} is cut short", i + 2))?;
                cell.parse::<f64>().map_err(|_| format!("`{cell}` in line {} is not a number", i + 2))
            };
            let at = number(step)?;
            let name = cells.get(objective).ok_or_else(|| format!("line {} is cut short", i + 2))?;
            if first.get_or_insert_with(|| (*name).to_owned()) == name {
                curves.loss.push((at, if cells.get(loss) == Some(&"") { f64::NAN } else { number(loss)? }));
            }
            if cells.get(score.0).is_some_and(|cell| !cell.is_empty()) {
                let se = if cells.get(score.1) == Some(&"") { 0.0 } else { spread(number(score.1)?) };
                let nll = number(score.0)?;
                curves.held_out.push((at, nll, se));
                let seconds = seconds.and_then(|seconds| number(seconds).ok());
                curves.timed.extend(seconds.map(|seconds| (seconds, nll)).filter(|(s, nll)| (s + nll).is_finite()));
            }
        }
        curves.loss_is_nll = first.is_some_and(|name| name == Criterion::Likelihood.name());
        Ok(curves)
    }
}

/// A standard error as drawn: none of a single row.
fn spread(se: f64) -> f64 {
    if se.is_finite() { se } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_found_by_their_names_and_what_is_cut_short_is_named() {
        let text = "step,objective,loss,valid_nll,valid_nll_se\n1,matching,0.5,,\n2,matching,NaN,1.25,0.5\n3,matching,0.25,1.5,NaN\n\
                    4,likelihood,2.5,,\n";
        let curves = Curves::parse(text).unwrap();
        assert_eq!((curves.loss[0], curves.loss[2]), ((1.0, 0.5), (3.0, 0.25)));
        assert!(curves.loss[1].1.is_nan() && curves.loss.len() == 3 && !curves.loss_is_nll);
        assert_eq!(curves.held_out, [(2.0, 1.25, 0.5), (3.0, 1.5, 0.0)]);
        assert!(curves.timed.is_empty());
        let timed =
            "step,seconds,objective,loss,valid_nll,valid_nll_se\n1,0.5,matching,1,2.5,0.1\n2,0.75,matching,1,NaN,\n";
        assert_eq!(Curves::parse(timed).unwrap().timed, [(0.5, 2.5)]);
        for (wrong, part) in [
            ("", "no column `step`"),
            ("step,loss\n", "no column `valid_nll`"),
            ("step,loss,valid_nll,valid_nll_se\n", "no column `objective`"),
            ("step,objective,loss,valid_nll,valid_nll_se\n1\n", "line 2 is cut short"),
            ("step,objective,loss,valid_nll,valid_nll_se\n1,matching,one,,\n", "`one` in line 2"),
        ] {
            assert!(Curves::parse(wrong).unwrap_err().contains(part), "{wrong}");
        }
    }
}
