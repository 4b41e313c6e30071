//! Processes that train one model together, to the bits of one process.
//!
//! All of them hold the same job, data and weights, and draw the same batches. Each computes the gradient of its part of
//! a batch's chunks, adds up the whole subtrees of the fixed tree that lie within this part, and sends these few sums to
//! the others; then each of them finishes the same tree. So the sum has the order of additions of one process, and the
//! weights stay the same everywhere without being sent.

use std::collections::BTreeMap;
use std::ops::Range;

use cnflow_solvers::Failure as PathFailure;

use super::loss::{Partial, Reduce, Sums};
use crate::error::Failure;
use crate::rng::mix;
use crate::transform::Cost;
use crate::velocity::Scalar;
use crate::{Error, Result};

/// The processes of a training, and what they say to each other.
///
/// Every rank has to call [`Crew::allgather`] equally often, in the same order.
pub trait Crew: Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Sends `mine` to all, and returns what each rank sent, in the order of ranks.
    ///
    /// # Errors
    /// Where a rank cannot be reached.
    fn allgather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>>;
}

/// One process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Crew for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn allgather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![mine.to_vec()])
    }
}

impl dyn Crew + '_ {
    fn gathered(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        let all = self.allgather(mine)?;
        if all.len() != self.size() {
            let problem = format!("{} messages came from {} processes", all.len(), self.size());
            return Err(Error::invalid(problem, "all of them have to belong to one training"));
        }
        Ok(all)
    }

    /// Whether any rank has this flag.
    ///
    /// # Errors
    /// As [`Crew::allgather`].
    pub(super) fn any(&self, flag: bool) -> Result<bool> {
        if self.size() == 1 {
            return Ok(flag);
        }
        Ok(self.gathered(&[u8::from(flag)])?.iter().any(|message| message == &[1]))
    }

    /// log p and the cost of `n` rows, each computed by one rank: `of` gives those of a range of rows. Of the cost it keeps
    /// the evaluations and the failures.
    ///
    /// # Errors
    /// As [`Crew::allgather`]; an error of one rank is that of all.
    pub(super) fn scores(
        &self,
        n: usize,
        of: impl FnOnce(Range<usize>) -> Result<(Vec<f64>, Cost)>,
    ) -> Result<(Vec<f64>, Cost)> {
        let (rank, size) = (self.rank(), self.size());
        if size == 1 {
            return of(0..n);
        }
        let own = of(n * rank / size..n * (rank + 1) / size);
        let sent = match &own {
            Ok((log_prob, cost)) => {
                let mut sent = vec![OK];
                let counts = [log_prob.len(), cost.nfe.len(), cost.failures.len()];
                counts.iter().for_each(|n| sent.extend((*n as u64).to_le_bytes()));
                put(&mut sent, log_prob.iter().copied());
                cost.nfe.iter().for_each(|nfe| sent.extend(u64::from(*nfe).to_le_bytes()));
                encode_failures(&mut sent, &cost.failures);
                sent
            }
            Err(error) => refusal(error),
        };
        let all = self.gathered(&sent)?;
        check(&all, own.err())?;
        let (mut log_prob, mut cost) = (Vec::with_capacity(n), Cost::default());
        for message in &all {
            let first = log_prob.len();
            let (more, part) = decode_scores(&mut &message[1..]).ok_or_else(damaged)?;
            log_prob.extend(more);
            cost.append(first, part);
        }
        if log_prob.len() == n { Ok((log_prob, cost)) } else { Err(damaged()) }
    }

    /// Holds that all ranks begin alike, by a hash of what they begin with.
    ///
    /// # Errors
    /// [`Error::Invalid`] on every rank where they do not.
    pub(super) fn agree(&self, hash: u64) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let all = self.gathered(&hash.to_le_bytes())?;
        match all.iter().position(|message| message != &all[0]) {
            None => Ok(()),
            Some(rank) => Err(Error::invalid(
                format!("process {rank} of the training began with other data, options or weights than process 0"),
                "give every process the same command and the same files",
            )),
        }
    }
}

/// A hash of numbers and a text, for [`Crew`]s to compare.
pub(super) fn hash_of(numbers: &[f64], text: &str, seed: u64) -> u64 {
    let hash = numbers.iter().fold(mix(seed), |hash, x| mix(hash ^ x.to_bits()));
    text.bytes().fold(hash, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// The sum over the chunks of several processes.
#[derive(Clone, Copy)]
pub struct Shared<'a>(pub &'a dyn Crew);

impl<T: Scalar> Reduce<T> for Shared<'_> {
    fn share(&self, chunks: usize) -> Range<usize> {
        let (rank, size) = (self.0.rank(), self.0.size());
        chunks * rank / size..chunks * (rank + 1) / size
    }

    fn sum(&self, chunks: usize, partials: Result<Vec<Partial<T>>>) -> Result<Partial<T>> {
        let share = Reduce::<T>::share(self, chunks);
        let mut sent = Vec::new();
        match &partials {
            Ok(partials) => {
                sent.push(OK);
                for (chunks, partial) in subtrees(share.start, partials) {
                    encode(&mut sent, &chunks, &partial);
                }
            }
            Err(error) => sent.extend(refusal(error)),
        }
        let all = self.0.gathered(&sent)?;
        check(&all, partials.err())?;
        let mut nodes = BTreeMap::new();
        let mut covered = 0;
        for message in &all {
            let mut rest = &message[1..];
            while !rest.is_empty() {
                let (of, partial) = decode(&mut rest).ok_or_else(damaged)?;
                if of.start != covered || of.is_empty() {
                    return Err(damaged());
                }
                covered = of.end;
                nodes.insert(of.start, partial);
            }
        }
        if covered != chunks {
            return Err(damaged());
        }
        finish_tree(nodes, chunks).ok_or_else(damaged)
    }
}

/// The first byte of a message.
const OK: u8 = 0;
const DIVERGED: u8 = 1;
const WRONG: u8 = 2;

/// The message of a rank that has an error instead.
fn refusal(error: &Error) -> Vec<u8> {
    let diverged = matches!(error, Error::Failed { .. } | Error::Degenerate { .. });
    [if diverged { DIVERGED } else { WRONG }].into_iter().chain(error.to_string().bytes()).collect()
}

/// The first rank's error is everyone's.
fn check(all: &[Vec<u8>], own: Option<Error>) -> Result<()> {
    for message in all {
        let words = |text| String::from_utf8_lossy(text).into_owned();
        match message.split_first() {
            Some((&OK, _)) => {}
            Some((&DIVERGED, text)) => return Err(Error::Degenerate { problem: words(text) }),
            Some((&WRONG, text)) => return Err(own.unwrap_or_else(|| Error::invalid(words(text), ""))),
            _ => return Err(damaged()),
        }
    }
    Ok(())
}

fn damaged() -> Error {
    Error::invalid("a message between the processes of the training is damaged", "run the same version in each of them")
}

/// The sums of the largest whole subtrees of the fixed tree among consecutive chunks from `first` on, each with its
/// chunks.
fn subtrees<T: Scalar>(first: usize, partials: &[Partial<T>]) -> Vec<(Range<usize>, Partial<T>)> {
    let mut nodes = Vec::new();
    let (mut at, end) = (first, first + partials.len());
    while at < end {
        let aligned = if at == 0 { usize::MAX } else { 1 << at.trailing_zeros() };
        let fits = 1 << (end - at).ilog2();
        let span = aligned.min(fits);
        let leaves = &partials[at - first..at - first + span];
        nodes.push((at..at + span, super::loss::tree(leaves.to_vec())));
        at += span;
    }
    nodes
}

/// The root of the tree over `chunks` leaves, from the sums of subtrees that cover them.
fn finish_tree<T: Scalar>(mut nodes: BTreeMap<usize, Partial<T>>, chunks: usize) -> Option<Partial<T>> {
    let mut gap = 1;
    while gap < chunks {
        let mut left = 0;
        while left + gap < chunks {
            // Where there is none, it is a part of the subtree on its left.
            if let Some(right) = nodes.remove(&(left + gap)) {
                let left = nodes.get_mut(&left)?;
                if !left.fits(&right) {
                    return None;
                }
                left.add(right);
            }
            left += 2 * gap;
        }
        gap *= 2;
    }
    let root = nodes.remove(&0);
    if nodes.is_empty() { root } else { None }
}

fn put(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = f64>) {
    numbers.into_iter().for_each(|x| out.extend(x.to_le_bytes()));
}

fn encode<T: Scalar>(out: &mut Vec<u8>, chunks: &Range<usize>, partial: &Partial<T>) {
    let Partial { sums, failures, gradient, gradient_f64 } = partial;
    let counts = [chunks.start, chunks.end, failures.len(), gradient.len(), gradient_f64.len()];
    counts.iter().for_each(|n| out.extend((*n as u64).to_le_bytes()));
    let Sums { rows, loss, kinetic, jacobian, nfe } = *sums;
    put(out, [rows, loss, kinetic, jacobian, nfe]);
    encode_failures(out, failures);
    // f64 holds either precision exactly; a net in f32 sends half as much.
    match size_of::<T>() {
        4 => gradient.iter().for_each(|g| out.extend((g.to_f64() as f32).to_le_bytes())),
        _ => put(out, gradient.iter().map(|g| g.to_f64())),
    }
    put(out, gradient_f64.iter().copied());
}

fn encode_failures(out: &mut Vec<u8>, failures: &[(usize, Failure)]) {
    for (row, failure) in failures {
        out.extend((*row as u64).to_le_bytes());
        put(out, numbers_of(*failure));
    }
}

fn word(rest: &mut &[u8]) -> Option<[u8; 8]> {
    let (word, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(*word)
}

fn whole(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(word(rest)?)).ok()
}

fn number(rest: &mut &[u8]) -> Option<f64> {
    word(rest).map(f64::from_le_bytes)
}

fn decode_failures(rest: &mut &[u8], count: usize) -> Option<Vec<(usize, Failure)>> {
    let mut failures = Vec::new();
    for _ in 0..count {
        let row = whole(rest)?;
        let mut numbers = [0.0; NUMBERS];
        for x in &mut numbers {
            *x = number(rest)?;
        }
        failures.push((row, failure_of(numbers)?));
    }
    Some(failures)
}

/// The scores of a rank's rows.
fn decode_scores(rest: &mut &[u8]) -> Option<(Vec<f64>, Cost)> {
    let [n, n_nfe, n_failures] = [whole(rest)?, whole(rest)?, whole(rest)?];
    let log_prob = (0..n).map(|_| number(rest)).collect::<Option<_>>()?;
    let nfe = (0..n_nfe).map(|_| u32::try_from(whole(rest)?).ok()).collect::<Option<_>>()?;
    let failures = decode_failures(rest, n_failures)?;
    rest.is_empty().then(|| (log_prob, Cost { nfe, failures, ..Cost::default() }))
}

/// The next subtree of a message.
fn decode<T: Scalar>(rest: &mut &[u8]) -> Option<(Range<usize>, Partial<T>)> {
    let mut counts = [0; 5];
    for n in &mut counts {
        *n = whole(rest)?;
    }
    let [start, end, n_failures, n_gradient, n_f64] = counts;
    let mut sums = [0.0; 5];
    for sum in &mut sums {
        *sum = number(rest)?;
    }
    let [rows, loss, kinetic, jacobian, nfe] = sums;
    let failures = decode_failures(rest, n_failures)?;
    let bytes = n_gradient.checked_mul(size_of::<T>())?;
    let (values, tail) = rest.split_at_checked(bytes)?;
    *rest = tail;
    let gradient = match size_of::<T>() {
        4 => values.as_chunks::<4>().0.iter().map(|x| T::of(f64::from(f32::from_le_bytes(*x)))).collect(),
        _ => values.as_chunks::<8>().0.iter().map(|x| T::of(f64::from_le_bytes(*x))).collect(),
    };
    let gradient_f64 = (0..n_f64).map(|_| number(rest)).collect::<Option<_>>()?;
    let sums = Sums { rows, loss, kinetic, jacobian, nfe };
    Some((start..end, Partial { sums, failures, gradient, gradient_f64 }))
}

/// Numbers that hold a failure: its kind, and what it has.
const NUMBERS: usize = 5;

fn numbers_of(failure: Failure) -> [f64; NUMBERS] {
    match failure {
        Failure::Path(PathFailure::NonFinite { t, h, speed }) => [0.0, t, h, speed, 0.0],
        Failure::Path(PathFailure::Integrand { from, to }) => [1.0, from, to, 0.0, 0.0],
        Failure::Path(PathFailure::StepTooSmall { t, h, speed }) => [2.0, t, h, speed, 0.0],
        Failure::Path(PathFailure::TooManySteps { steps, t, h, speed }) => [3.0, t, h, speed, steps as f64],
        Failure::Path(PathFailure::Stopped { t }) => [4.0, t, 0.0, 0.0, 0.0],
        Failure::Layer { layer } => [5.0, layer as f64, 0.0, 0.0, 0.0],
        Failure::Point => [6.0, 0.0, 0.0, 0.0, 0.0],
        Failure::Outside => [7.0, 0.0, 0.0, 0.0, 0.0],
        Failure::Fold { t, determinant } => [9.0, t, determinant, 0.0, 0.0],
        Failure::NoRoot { t, residual, evaluations } => [10.0, t, residual, f64::from(evaluations), 0.0],
        // Of a later version of the solvers too: why is said by the rank that has it.
        Failure::Overflow | Failure::Path(_) => [8.0, 0.0, 0.0, 0.0, 0.0],
    }
}

fn failure_of([kind, a, b, c, d]: [f64; NUMBERS]) -> Option<Failure> {
    Some(match kind as u32 {
        0 => PathFailure::NonFinite { t: a, h: b, speed: c }.into(),
        1 => PathFailure::Integrand { from: a, to: b }.into(),
        2 => PathFailure::StepTooSmall { t: a, h: b, speed: c }.into(),
        3 => PathFailure::TooManySteps { steps: d as usize, t: a, h: b, speed: c }.into(),
        4 => PathFailure::Stopped { t: a }.into(),
        5 => Failure::Layer { layer: a as usize },
        6 => Failure::Point,
        7 => Failure::Outside,
        9 => Failure::Fold { t: a, determinant: b },
        10 => Failure::NoRoot { t: a, residual: b, evaluations: c as u32 },
        8 => Failure::Overflow,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::loss::FixedTree;
    use super::*;
    use crate::rng::{stream, unit};
    use rand::RngCore as _;

    /// One of several ranks whose messages are known beforehand.
    struct Told<'a> {
        rank: usize,
        all: &'a [Vec<u8>],
    }

    impl Crew for Told<'_> {
        fn rank(&self) -> usize {
            self.rank
        }
        fn size(&self) -> usize {
            self.all.len()
        }
        fn allgather(&self, _: &[u8]) -> Result<Vec<Vec<u8>>> {
            Ok(self.all.to_vec())
        }
    }

    /// Listens to what a rank sends.
    struct Heard {
        rank: usize,
        size: usize,
        sent: std::sync::Mutex<Vec<u8>>,
    }

    impl Crew for Heard {
        fn rank(&self) -> usize {
            self.rank
        }
        fn size(&self) -> usize {
            self.size
        }
        fn allgather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
            *self.sent.lock().unwrap() = mine.to_vec();
            Err(Error::invalid("listening", ""))
        }
    }

    fn partials<T: Scalar>(n: usize) -> Vec<Partial<T>> {
        let mut rng = stream(n as u64, 0);
        let mut draw = move || unit(rng.next_u64()) - 0.3;
        (0..n)
            .map(|i| {
                let sums = Sums { rows: i as f64, loss: draw(), kinetic: draw(), jacobian: draw(), nfe: draw() };
                let failures = if i % 3 == 0 { vec![(i, Failure::Layer { layer: i })] } else { Vec::new() };
                let gradient = (0..5).map(|_| T::of(draw())).collect();
                Partial { sums, failures, gradient, gradient_f64: vec![draw(); 2] }
            })
            .collect()
    }

    /// What each rank of so many sends of its share.
    fn messages<T: Scalar>(size: usize, all: &[Partial<T>]) -> Vec<Vec<u8>> {
        (0..size)
            .map(|rank| {
                let heard = Heard { rank, size, sent: std::sync::Mutex::default() };
                let share = Reduce::<T>::share(&Shared(&heard), all.len());
                Shared(&heard).sum(all.len(), Ok(all[share].to_vec())).unwrap_err();
                heard.sent.into_inner().unwrap()
            })
            .collect()
    }

    fn check<T: Scalar>() {
        for n in [1, 2, 3, 5, 8, 13, 32, 100] {
            let all = partials::<T>(n);
            let whole = FixedTree.sum(n, Ok(all.clone())).unwrap();
            for size in [1, 2, 3, 5, 7, 16] {
                let sent = messages(size, &all);
                for rank in [0, size - 1] {
                    let told = Told { rank, all: &sent };
                    let share = Reduce::<T>::share(&Shared(&told), n);
                    let found = Shared(&told).sum(n, Ok(all[share].to_vec())).unwrap();
                    assert_eq!(found, whole, "{n} chunks on {size} ranks");
                }
            }
        }
    }

    #[test]
    fn any_number_of_ranks_has_the_bits_of_one() {
        check::<f32>();
        check::<f64>();
    }

    #[test]
    fn a_rank_sends_few_sums() {
        let all = partials::<f64>(1000);
        let shares = (0..7).map(|rank| 1000 * rank / 7..1000 * (rank + 1) / 7);
        let most = shares.map(|share| subtrees(share.start, &all[share]).len()).max();
        assert!(most.is_some_and(|most| most <= 14), "{most:?}");
    }

    #[test]
    fn an_error_of_one_rank_is_everyones() {
        let all = partials::<f64>(4);
        let mut sent = messages(2, &all);
        sent[1] = [&[WRONG][..], b"the second is wrong"].concat();
        let error = Shared(&Told { rank: 0, all: &sent }).sum(4, Ok(all[..2].to_vec())).unwrap_err();
        assert_eq!(error.to_string(), "the second is wrong");
        sent[1][0] = DIVERGED;
        let error = Shared(&Told { rank: 0, all: &sent }).sum(4, Ok(all[..2].to_vec())).unwrap_err();
        assert!(matches!(error, Error::Degenerate { .. }));
    }

    #[test]
    fn damaged_messages_are_refused() {
        let all = partials::<f32>(4);
        let sent = messages(2, &all);
        let tell = |sent: &[Vec<u8>]| Shared(&Told { rank: 0, all: sent }).sum(4, Ok(all[..2].to_vec()));
        assert!(tell(&sent).is_ok());
        for cut in [0, 1, 9, 50, sent[1].len() - 1] {
            assert!(tell(&[sent[0].clone(), sent[1][..cut].to_vec()]).is_err(), "{cut}");
        }
        assert!(tell(&[sent[0].clone(), sent[0].clone()]).is_err());
        assert!(tell(&sent[..1]).is_err());
    }

    #[test]
    fn failures_arrive_as_they_were_sent() {
        let all: [Failure; 11] = [
            PathFailure::NonFinite { t: 0.1, h: 0.2, speed: 0.3 }.into(),
            PathFailure::Integrand { from: 0.1, to: 0.2 }.into(),
            PathFailure::StepTooSmall { t: 0.1, h: 0.2, speed: 0.3 }.into(),
            PathFailure::TooManySteps { steps: 7, t: 0.1, h: 0.2, speed: 0.3 }.into(),
            PathFailure::Stopped { t: 0.5 }.into(),
            Failure::Layer { layer: 3 },
            Failure::Fold { t: 0.1, determinant: -0.2 },
            Failure::NoRoot { t: 0.1, residual: 0.2, evaluations: 7 },
            Failure::Point,
            Failure::Outside,
            Failure::Overflow,
        ];
        for failure in all {
            assert_eq!(failure_of(numbers_of(failure)), Some(failure));
        }
        assert_eq!(failure_of([99.0; NUMBERS]), None);
    }
}
