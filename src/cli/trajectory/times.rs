//! The times of a trajectory: those of a picture's paths and panels, and those of a film's frames.

/// Times between 0 and 1 at which a path is known, at least.
const FINE: usize = 96;

/// `n` equal times from 0 to 1.
pub fn even(n: usize) -> Vec<f64> {
    (0..n).map(|k| k as f64 / (n - 1) as f64).collect()
}

/// The times of a picture's paths and which of them are its moments: close to each other for a velocity, and all layers
/// for a flow of so many, of which it shows the first, the last, and some between them as evenly as can be.
pub fn moments(panels: usize, layers: Option<usize>) -> (Vec<f64>, Vec<usize>) {
    match layers {
        None => {
            let gaps = panels - 1;
            let between = FINE.div_ceil(gaps);
            (even(gaps * between + 1), (0..=gaps).map(|k| k * between).collect())
        }
        Some(layers) => {
            let gaps = (panels - 1).min(layers).max(1);
            (even(layers + 1), (0..=gaps).map(|k| (2 * k * layers + gaps) / (2 * gaps)).collect())
        }
    }
}

/// The times of so many frames: equal, but that those next to a whole layer are at it, so that a particle turns where
/// it does and the density changes when it is there.
pub fn frames(frames: usize, layers: Option<usize>) -> Vec<f64> {
    let mut times = even(frames);
    if let Some(layers) = layers.filter(|layers| *layers < frames) {
        for layer in 0..=layers {
            times[(2 * layer * (frames - 1) + layers) / (2 * layers)] = layer as f64 / layers as f64;
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_times_begin_at_0_end_at_1_and_hold_the_moments() {
        for panels in 2..=12 {
            let gaps = panels - 1;
            let times = even(gaps * FINE.div_ceil(gaps) + 1);
            assert!(times[0] == 0.0 && times[times.len() - 1] == 1.0 && times.len() > FINE);
            for k in 0..=gaps {
                assert!((times[k * FINE.div_ceil(gaps)] - k as f64 / gaps as f64).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn layers_are_shown_whole_from_the_first_to_the_last_and_frames_are_at_each() {
        assert_eq!(moments(5, Some(8)).1, [0, 2, 4, 6, 8]);
        assert_eq!(moments(5, Some(25)).1, [0, 6, 13, 19, 25]);
        for (panels, layers) in (2..=12).flat_map(|panels| (1..40).map(move |layers| (panels, layers))) {
            let (times, shown) = moments(panels, Some(layers));
            assert_eq!((times.len(), shown.len()), (layers + 1, panels.min(layers + 1)));
            assert!(shown.windows(2).all(|w| w[0] < w[1]) && (shown[0], shown[shown.len() - 1]) == (0, layers));
            for n in [2, 3, 30, 60] {
                let times = frames(n, Some(layers));
                assert!(times.len() == n && times.windows(2).all(|w| w[0] < w[1]), "{n} frames, {layers} layers");
                assert!((times[0], times[n - 1]) == (0.0, 1.0));
                let at = |l: usize| times.contains(&(l as f64 / layers as f64));
                assert!(layers >= n || (0..=layers).all(at), "{n} frames, {layers} layers");
            }
        }
    }
}
