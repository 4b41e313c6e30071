//! The picture of a running training: numbers in, cells out. It depends on neither the trainer nor the terminal.

use std::collections::VecDeque;

use cnflow::plot::Grid;
use cnflow::stats::Dominance;
use cnflow::words;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};

use crate::cli::images::ScoreUnit;

/// Points that a curve keeps; when they are twice as many, neighbours are merged.
const KEPT: usize = 512;

/// Beside a running score: the median in units of so many nats, where few rows carry the mean.
pub fn few(dominance: &Dominance, nats: f64) -> String {
    let Some(few) = dominance.few else { return String::new() };
    let carry = if few == 1 { "carries" } else { "carry" };
    format!(" (median {}: {few} of {} rows {carry} the mean)", words::number(dominance.median / nats, 3), dominance.n)
}

/// A held-out score.
#[derive(Clone, Copy, Debug)]
pub struct HeldOut {
    pub nll: f64,
    pub se: f64,
    /// Mean NFE of a row, where it is known.
    pub nfe: Option<f64>,
    /// The median, and whether few rows carry the mean.
    pub dominance: Dominance,
}

/// One moment of a run.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub step: usize,
    pub seconds: f64,
    pub loss: f64,
    pub lr: f64,
    /// The part of the budget that is spent.
    pub done: f64,
    pub held_out: Option<HeldOut>,
}

/// A curve of bounded length: means over equally many steps.
#[derive(Debug, Default)]
struct Curve {
    points: Vec<(f64, f64)>,
    /// Steps in a point, as a power of two.
    doublings: u32,
    open: (f64, f64),
    count: u64,
}

impl Curve {
    fn push(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            return;
        }
        self.open = (x, self.open.1 + y);
        self.count += 1;
        if self.count < 1 << self.doublings {
            return;
        }
        self.points.push((x, self.open.1 / self.count as f64));
        (self.open, self.count) = ((0.0, 0.0), 0);
        if self.points.len() >= 2 * KEPT {
            self.points = self
                .points
                .chunks(2)
                .map(|p| (p[p.len() - 1].0, p.iter().map(|q| q.1).sum::<f64>() / p.len() as f64))
                .collect();
            self.doublings += 1;
        }
    }

    /// The ends of y, all but the outermost part of it on top: the first steps are far above the rest.
    fn range(&self) -> Option<(f64, f64)> {
        let mut ys: Vec<f64> = self.points.iter().map(|p| p.1).collect();
        ys.sort_by(f64::total_cmp);
        let (low, high) = (*ys.first()?, ys[(ys.len() - 1) * 97 / 100]);
        let pad = (0.08 * (high - low)).max(1e-9 * high.abs()).max(1e-12);
        Some((low - pad, high + pad))
    }
}

/// The picture of a running training.
#[derive(Debug)]
pub struct LiveView {
    title: String,
    now: Option<Now>,
    loss: Curve,
    nll: Curve,
    nfe: Curve,
    latest: Option<HeldOut>,
    /// (seconds, step) of the last moments, for the rate.
    recent: VecDeque<(f64, usize)>,
    entropy: Option<f64>,
    density: Option<Grid>,
    /// The step of the density.
    density_step: usize,
    planar: bool,
    /// What scores are counted in.
    unit: ScoreUnit,
}

impl LiveView {
    /// Before the first step. `entropy` is the true one, below which no score can stay; `planar`: a density will come.
    pub fn new(title: String, entropy: Option<f64>, planar: bool) -> Self {
        Self {
            title,
            now: None,
            loss: Curve::default(),
            nll: Curve::default(),
            nfe: Curve::default(),
            latest: None,
            recent: VecDeque::new(),
            entropy,
            density: None,
            density_step: 0,
            planar,
            unit: ScoreUnit::of(None),
        }
    }

    /// With scores in this unit.
    pub fn scored_in(self, unit: ScoreUnit) -> Self {
        Self { unit, ..self }
    }

    /// A step was done.
    pub fn update(&mut self, now: Now) {
        self.now = Some(now);
        self.loss.push(now.step as f64, now.loss);
        if let Some(held_out) = now.held_out {
            self.latest = Some(held_out);
            self.nll.push(now.step as f64, held_out.nll / self.unit.nats);
            if let Some(nfe) = held_out.nfe {
                self.nfe.push(now.step as f64, nfe);
            }
        }
        if self.recent.back().is_none_or(|last| now.seconds - last.0 > 0.05) {
            self.recent.push_back((now.seconds, now.step));
        }
        // The rate of the last five seconds.
        while self.recent.front().is_some_and(|first| now.seconds - first.0 > 5.0) && self.recent.len() > 2 {
            self.recent.pop_front();
        }
    }

    /// The density as it is after `step` steps.
    pub fn set_density(&mut self, grid: Grid, step: usize) {
        (self.density, self.density_step) = (Some(grid), step);
    }

    /// Steps a second.
    fn rate(&self) -> f64 {
        match (self.recent.front(), self.now) {
            (Some(first), Some(now)) if now.seconds > first.0 => (now.step - first.1) as f64 / (now.seconds - first.0),
            (_, Some(now)) => now.step as f64 / now.seconds.max(1e-9),
            _ => 0.0,
        }
    }

    /// Onto the whole of a frame.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
        self.draw_head(frame, head);
        let hint = Line::from(" Ctrl-C ends the run after its step; the model is scored and saved").dim();
        frame.render_widget(Paragraph::new(hint), foot);
        // A density is as wide as it is high: two cells of a terminal are about a square.
        let wide = if self.planar && body.width >= 60 { (2 * body.height).min(body.width / 2) } else { 0 };
        let [curves, map] = Layout::horizontal([Constraint::Min(0), Constraint::Length(wide)]).areas(body);
        let parts = if self.nfe.points.is_empty() { vec![3, 3] } else { vec![3, 3, 2] };
        let rows = Layout::vertical(parts.into_iter().map(Constraint::Fill)).split(curves);
        let last = self.now.map_or(1.0, |now| now.step as f64).max(1.0);
        curve(frame, rows[0], " training loss ", &self.loss, Color::Blue, last, None);
        let scores = format!(" held-out NLL ({}) ", self.unit.name);
        curve(frame, rows[1], &scores, &self.nll, Color::Yellow, last, self.entropy);
        if rows.len() > 2 {
            curve(frame, rows[2], " NFE ", &self.nfe, Color::Green, last, None);
        }
        if wide > 0 {
            self.draw_density(frame, map);
        }
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(now) = self.now else {
            frame.render_widget(Paragraph::new(self.title.as_str()), area);
            return;
        };
        let left = if now.done > 0.0 { now.seconds * (1.0 / now.done - 1.0).max(0.0) } else { 0.0 };
        let mut words = format!(
            "step {} · {:.0}/s · loss {} · lr {}",
            now.step,
            self.rate(),
            words::number(self.loss.points.last().map_or(now.loss, |p| p.1), 4),
            words::error(now.lr)
        );
        if let Some(h) = self.latest {
            let nats = self.unit.nats;
            let (nll, few) = (words::estimate(h.nll / nats, h.se / nats, 3), few(&h.dominance, nats));
            words += &format!(" · {}{few}", self.unit.score(&nll));
            if let Some(nfe) = h.nfe {
                words += &format!(" · NFE {}", words::number(nfe, 0));
            }
        }
        words += &format!(" · {} left", words::duration(left));
        let width = usize::from(area.width.saturating_sub(6));
        let full = ((now.done.clamp(0.0, 1.0)) * width as f64) as usize;
        let bar = Line::from(vec![
            Span::styled("━".repeat(full), Style::new().cyan()),
            Span::styled("─".repeat(width - full), Style::new().dark_gray()),
            Span::from(format!(" {:>3.0} %", 100.0 * now.done.clamp(0.0, 1.0))),
        ]);
        frame.render_widget(Paragraph::new(vec![Line::from(words), bar]), area);
    }

    /// Two cells of the density to a character: the upper half block in the colour of one, on the colour of the other.
    fn draw_density(&self, frame: &mut Frame<'_>, area: Rect) {
        let title = if self.density.is_some() {
            format!(" density at step {} ", self.density_step)
        } else {
            " density ".into()
        };
        let block = Block::bordered().title(title).border_style(Style::new().dark_gray());
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let Some(grid) = &self.density else { return };
        let max = grid.values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
        let at = |column: u16, half: u16| {
            let i = usize::from(column) * grid.nx / usize::from(inner.width.max(1));
            let j = usize::from(half) * grid.ny / usize::from((2 * inner.height).max(1));
            let value = grid.values.get((grid.ny - 1 - j.min(grid.ny - 1)) * grid.nx + i.min(grid.nx - 1));
            shade(value.copied().unwrap_or(0.0), max)
        };
        let buffer = frame.buffer_mut();
        for row in 0..inner.height {
            for column in 0..inner.width {
                let cell = &mut buffer[(inner.x + column, inner.y + row)];
                cell.set_symbol("▀").set_fg(at(column, 2 * row)).set_bg(at(column, 2 * row + 1));
            }
        }
    }
}

/// The colour of a density: inferno by the square root, which lifts what is faint.
fn shade(value: f64, max: f64) -> Color {
    let part = if max > 0.0 && value > 0.0 { (value / max).sqrt().min(1.0) } else { 0.0 };
    let c = colorous::INFERNO.eval_continuous(part);
    Color::Rgb(c.r, c.g, c.b)
}

/// A curve over steps in a box, with a dotted level.
fn curve(frame: &mut Frame<'_>, area: Rect, title: &str, curve: &Curve, colour: Color, last: f64, level: Option<f64>) {
    let block = Block::bordered().title(title.to_owned()).border_style(Style::new().dark_gray());
    let Some((mut low, high)) = curve.range() else {
        frame.render_widget(block, area);
        return;
    };
    if let Some(level) = level.filter(|level| level.is_finite()) {
        low = low.min(level - 0.05 * (high - level).abs());
    }
    let flat: Vec<(f64, f64)> =
        level.map_or(Vec::new(), |l| (0..60).map(|i| (last * f64::from(i) / 59.0, l)).collect());
    let digits = ((2.0 - (high - low).log10()).ceil().clamp(0.0, 6.0)) as usize;
    let labels = [low, 0.5 * (low + high), high].map(|v| words::number(v, digits));
    let lines = vec![
        Dataset::default().marker(Marker::Dot).style(Style::new().dark_gray()).data(&flat),
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(colour))
            .data(&curve.points),
    ];
    let grey = Style::new().dark_gray();
    let steps = [0.0, last].map(|v| format!("{v:.0}"));
    let chart = Chart::new(lines)
        .block(block)
        .legend_position(None)
        .x_axis(Axis::default().bounds([0.0, last]).labels(steps).style(grey))
        .y_axis(Axis::default().bounds([low, high]).labels(labels).style(grey));
    frame.render_widget(chart, area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::CELLS;
    use super::*;

    fn run(steps: usize, planar: bool) -> LiveView {
        let mut view = LiveView::new("8gaussians".into(), Some(2.5), planar);
        for step in 1..=steps {
            let x = step as f64;
            let held_out = (step % 100 == 0).then_some(HeldOut {
                nll: 2.6 + 10.0 / x,
                se: 0.01,
                nfe: Some(40.0 + x / 100.0),
                dominance: Dominance::UNKNOWN,
            });
            view.update(Now { step, seconds: x / 200.0, loss: 1.0 + 5.0 / x, lr: 1e-2, done: x / 4000.0, held_out });
        }
        view
    }

    fn screen(view: &LiveView, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    fn bell() -> Grid {
        let values = (0..CELLS * CELLS)
            .map(|k| (-((k % CELLS) as f64 - 24.0).powi(2) / 30.0 - ((k / CELLS) as f64 - 24.0).powi(2) / 30.0).exp())
            .collect();
        Grid { x: (-4.0, 4.0), y: (-4.0, 4.0), nx: CELLS, ny: CELLS, values }
    }

    #[test]
    fn the_screen_tells_all_that_was_asked_of_it() {
        let mut view = run(1000, true);
        view.set_density(bell(), 900);
        let seen = screen(&view, 120, 36);
        let parts = "step 1000|200/s|loss 1.0|lr 1.0e-2|NLL 2.610 ± 0.010|NFE 50|15.0 s left|25 %|training loss|held-out NLL|\
                     density at step 900|▀|Ctrl-C";
        for part in parts.split('|') {
            assert!(seen.contains(part), "`{part}` is not in\n{seen}");
        }
        // Braille dots of three curves.
        assert!(seen.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count() > 60, "{seen}");
        // Other than two dimensions have no map.
        assert!(!screen(&run(1000, false), 120, 36).contains('▀'));
    }

    #[test]
    fn a_screen_of_any_size_is_drawn_before_and_after_the_first_step() {
        let mut full = run(300, true);
        full.set_density(bell(), 300);
        for (width, height) in [(1, 1), (3, 2), (10, 4), (40, 10), (61, 3), (80, 24), (300, 90)] {
            for view in [&LiveView::new("x".into(), None, true), &run(1, true), &full] {
                assert_eq!(screen(view, width, height).lines().count(), usize::from(height));
            }
        }
    }

    #[test]
    fn strange_numbers_stop_no_view() {
        for loss in [f64::NAN, f64::INFINITY, -1e300, 1e300, 1e60, 0.0] {
            let mut view = LiveView::new("x".into(), Some(f64::NEG_INFINITY), true);
            for step in 1..4 {
                let held_out =
                    Some(HeldOut { nll: loss, se: f64::NAN, nfe: Some(loss), dominance: Dominance::UNKNOWN });
                view.update(Now { step, seconds: 0.0, loss, lr: loss, done: 0.0, held_out });
            }
            view.set_density(Grid { values: vec![loss; CELLS * CELLS], ..bell() }, 1);
            let seen = screen(&view, 100, 30);
            assert!(seen.contains("step 3") && !seen.contains("NaN"), "{seen}");
            let digits = seen.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
            assert!(digits.is_some_and(|most| most <= 17), "{seen}");
        }
    }

    #[test]
    fn a_score_that_one_row_carries_says_so() {
        let mut view = run(100, false);
        let dominance = Dominance { n: 300, median: 3.25, few: Some(1), farthest: 7 };
        let held_out = Some(HeldOut { nll: 1.6e16, se: 1.6e16, nfe: None, dominance });
        view.update(Now { step: 101, seconds: 1.0, loss: 1.0, lr: 1e-2, done: 0.1, held_out });
        let seen = screen(&view, 140, 30);
        assert!(seen.contains("NLL (1.60 ± 1.60)e16 (median 3.250: 1 of 300 rows carries the mean)"), "{seen}");
    }

    #[test]
    fn a_curve_keeps_its_mean_however_long_the_run() {
        let mut curve = Curve::default();
        let n = 100_000;
        (1..=n).for_each(|i| curve.push(f64::from(i), f64::from(i)));
        assert!(curve.points.len() < 2 * KEPT && curve.points.len() >= KEPT / 2, "{}", curve.points.len());
        // Each point is the mean of 2^doublings numbers up to its step.
        let width = f64::from(1u32 << curve.doublings);
        for (x, y) in &curve.points {
            assert!((y - (x - 0.5 * (width - 1.0))).abs() < 1e-9 * x, "{x} {y}");
        }
    }
}
