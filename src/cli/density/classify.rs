//! `cnf density --classify`: points → the probabilities of a model's classes, by Bayes' rule.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use cnflow::apply::{
    Accuracy, Arrived, BitsPerDim, Classified, Classifier, Mean, Prior, RowSource, SolveStatistics, classes,
};
use cnflow::continuous::Work;
use cnflow::{Error, words};
use serde_json::json;

use super::{DensityArgs, check_draws};
use crate::cli::output::{self, Growing, Kind};
use crate::cli::progress::watched;
use crate::cli::setup::{self, Setup};
use crate::cli::{Context, interrupt, source, statistics};

/// What is made of the rows while they pass.
struct Seen {
    output: Option<Growing>,
    spent: SolveStatistics,
    accuracy: Accuracy,
    /// log p(x), over all classes.
    log_prob: Mean,
}

/// Runs the command.
pub fn run(args: &DensityArgs, context: &Context) -> Result<()> {
    let outputs = [(Kind::Table, args.output.as_deref())];
    output::check(&outputs, &[args.model.as_deref(), args.points.as_deref(), args.given.file()])?;
    let (model, Some(points)) = setup::model_and_points(args.model.as_deref(), args.points.as_deref()) else {
        return Err(Error::invalid("--classify needs points", "give points (x.npy)").into());
    };
    let setup = Setup::open(model, &args.solver, context)?;
    output::check(&outputs, &[Some(&setup.path)])?;
    check_draws(args, &setup)?;
    let (all, _) = classes(&setup.model)?;
    let classifier =
        |done: &Arc<Work>| Classifier::new(&setup.model, setup.precision, args.prior, args.dequantise, done);
    // What is wrong with the options is reported before the file is read.
    let plan = classifier(&Arc::default())?;
    let mut rows = source::of_points(&setup, points, &args.picked, &args.given, args.block, context)?;
    let mut seen = Seen::new(args.output.as_deref(), &setup, all)?;
    let each = args.dequantise * all.len() as u64;
    watched("classifying", rows.total(), each, context, |done| {
        let classifier = classifier(&done)?;
        while let Some(block) = rows.next_block()? {
            // Without its true class a row has its probabilities all the same.
            seen.take(block.first, classifier.rows_with_gaps(&block.x)?, &block.condition)?;
        }
        anyhow::Ok(())
    })?;
    seen.spent.check_any()?;
    interrupt::critical_section(|| seen.output.take().map_or(Ok(()), Growing::finish))?;
    seen.report(args, &setup, &plan, &rows, context)?;
    Ok(seen.spent.check()?)
}

impl Seen {
    fn new(output: Option<&Path>, setup: &Setup, classes: &[i64]) -> Result<Self> {
        let condition = setup.model.spec.condition.as_ref();
        let name = condition.map_or_else(String::new, |condition| condition.name(0));
        let labels = setup.model.spec.class_labels(0);
        let names: Vec<String> = labels.iter().map(|class| format!("{name}={class}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let output = Growing::table(output, classes.len())?;
        let output = output.map(|file| file.named(&setup.header(&names))).transpose()?;
        let (spent, accuracy) = (SolveStatistics::default(), Accuracy::new(classes));
        Ok(Self { output, spent, accuracy, log_prob: Mean::default() })
    }

    /// One block: what its rows are, and their true classes, where they are known.
    fn take(&mut self, first: u64, found: Classified, truth: &[f64]) -> Result<()> {
        self.accuracy.add(&found, truth);
        found.log_prob.iter().for_each(|l| self.log_prob.add(*l));
        if let Some(file) = &mut self.output {
            file.push(&found.log_class.iter().map(|l| l.exp()).collect::<Vec<_>>())?;
        }
        let Classified { log_prob, cost, seconds, missing, .. } = found;
        self.spent.add(
            first,
            &Arrived { dim: 1, y: log_prob.clone(), log_prob, cost, seconds, missing, ..Arrived::default() },
        );
        Ok(())
    }

    fn report(
        &self,
        args: &DensityArgs,
        setup: &Setup,
        plan: &Classifier,
        rows: &RowSource,
        context: &Context,
    ) -> Result<()> {
        let (accuracy, spent) = (&self.accuracy, &self.spent);
        let (right, log_true, (prior, log_prior)) = (accuracy.right(), accuracy.log_true(), plan.prior());
        let labelled = right.n() > 0;
        let bits = setup.model.spec.pixels.as_ref().map(|pixels| BitsPerDim::unit(pixels.dim()));
        let labels = setup.model.spec.class_labels(0);
        // Words where the classes have some, else numbers.
        let names = match setup.model.spec.class_words.is_empty() {
            true => json!(plan.classes()),
            false => json!(labels),
        };
        let number = |mean: Mean, value: f64| (mean.n() > 0 && value.is_finite()).then_some(value);
        let facts = json!({
            "n": spent.n,
            "classes": names,
            "prior": prior.name(),
            "prior_probabilities": log_prior.iter().map(|l| l.exp()).collect::<Vec<_>>(),
            "labelled": right.n(),
            "accuracy": number(right, right.mean()),
            "accuracy_se": number(right, right.se()),
            "mean_log_class": number(log_true, log_true.mean()),
            "mean_log_class_se": number(log_true, log_true.se()),
            "impossible": accuracy.impossible(),
            "confusion": labelled.then(|| accuracy.confusion()),
            "found": accuracy.found(),
            "mean_log_prob": number(self.log_prob, self.log_prob.mean()),
            "se": number(self.log_prob, self.log_prob.se()),
            "bits_per_dim": bits.map(|unit| -self.log_prob.mean() / unit),
            "bits_per_dim_se": bits.map(|unit| self.log_prob.se() / unit),
            "dequantise": args.dequantise,
            "nfe_mean": spent.nfe_mean(),
            "nfe_max": spent.nfe_max,
            "trace_evals_mean": spent.traces_mean(),
            "seconds": spent.seconds,
            "failed": spent.failed,
            "missing": spent.missing,
            "outside": spent.outside,
            "inside": spent.inside(),
            "unsettled": spent.unsettled,
            "notes": rows.notes(),
            "model": setup.path,
            "output": args.output,
        });
        let estimate = |mean: Mean, digits: usize| match mean.n() {
            1 => words::number(mean.mean(), digits),
            _ => words::estimate(mean.mean(), mean.se(), digits),
        };
        let mut text = String::new();
        if labelled {
            let n = words::count(right.n(), "point");
            text += &format!("accuracy: {} over {n}{}\n", estimate(right, 4), words::no_error(right.n()));
            text += &format!("mean log p(class | x): {} nats", estimate(log_true, 4));
            text += &match accuracy.impossible() {
                0 => "\n".to_owned(),
                n => format!(" without {}, whose class has probability 0\n", words::count(n, "point")),
            };
            if let Some((class, other, n, of)) = accuracy.worst() {
                let named = |class| setup.model.spec.condition_label(0, class as f64);
                let (class, other) = (named(class), named(other));
                text += &format!("most frequent mistake: {class} taken for {other}, {n} of {of}\n");
            }
        } else {
            let all = labels.iter().zip(accuracy.found());
            let list = all.map(|(class, n)| format!("{class}: {n}")).collect::<Vec<_>>().join(", ");
            text += &format!("points by their most probable class: {list}\n");
        }
        let taken = match prior {
            Prior::Data => "the frequencies of the training data",
            Prior::Uniform => "the same for all classes",
        };
        text += &format!("prior: {taken}\n");
        let mean = if self.log_prob.n() == 0 { "none".into() } else { estimate(self.log_prob, 5) + " nats" };
        text += &format!("mean log p over the classes: {mean} {}\n", statistics::among(spent, "point"));
        if let Some(unit) = bits.filter(|_| self.log_prob.n() > 0) {
            let (mean, se) = (-self.log_prob.mean() / unit, self.log_prob.se() / unit);
            let (bits, alone) = (words::estimate(mean, se, 4), words::no_error(self.log_prob.n()));
            text += &format!("bits per dimension without the class: at most {bits}{alone}\n");
        }
        let (nfe, traces, k) = (spent.nfe_mean(), spent.traces_mean(), plan.classes().len());
        text += &format!("NFE a point: {nfe:.1} for {k} classes; traces: {traces:.1}; ");
        text += &format!("{}\n", words::duration(spent.seconds));
        text += &statistics::troubles(spent);
        statistics::note_missing(spent, context);
        if let Some(path) = &args.output {
            text += &format!("wrote {}\n", path.display());
        }
        context.report(&text, &facts)
    }
}
