//! Every table has the order that it states: rooted trees check orders, embedded orders and dense output.
//!
//! A method has order p where Σᵢ wᵢ Φᵢ(τ) = 1/γ(τ) for every rooted tree τ of up to p nodes (Butcher 1963); its
//! dense output has order q where Σᵢ bᵢ(θ) Φᵢ(τ) = θʳ/γ(τ) for every tree of r ≤ q nodes. All trees are grown here
//! (1, 1, 2, 4, 9, 20, 48, 115, 286 of 1 to 9 nodes), so the 17 of order 5 are the beginning of the list.

use cnflow_solvers::{SolveError, Tableau, methods};

/// A rooted tree: which trees hang from its root, by their place in the list.
struct Tree {
    nodes: u32,
    gamma: f64,
    children: Vec<usize>,
}

/// All rooted trees of up to `most` nodes, smallest first.
fn trees(most: u32) -> Vec<Tree> {
    fn grow(list: &[Tree], left: u32, last: usize, children: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
        if left == 0 {
            found.push(children.clone());
            return;
        }
        // Children in non-increasing order of place: each set once.
        for child in (0..=last).filter(|&c| c < list.len() && list[c].nodes <= left) {
            children.push(child);
            grow(list, left - list[child].nodes, child, children, found);
            children.pop();
        }
    }
    let mut list: Vec<Tree> = Vec::new();
    for nodes in 1..=most {
        let mut found = Vec::new();
        grow(&list, nodes - 1, list.len(), &mut Vec::new(), &mut found);
        list.extend(
            found
                .into_iter()
                .map(|children| (children.iter().map(|&c| list[c].gamma).product::<f64>() * f64::from(nodes), children))
                .map(|(gamma, children)| Tree { nodes, gamma, children })
                .collect::<Vec<_>>(),
        );
    }
    list
}

/// Φᵢ(τ) for every tree and stage, and the same from |a|: what rounding is measured against.
fn elementary_weights(method: &Tableau, list: &[Tree]) -> Vec<Vec<(f64, f64)>> {
    let mut weights: Vec<Vec<(f64, f64)>> = Vec::new();
    for tree in list {
        let of_stage = |row: &[f64]| {
            tree.children.iter().fold((1.0, 1.0), |(value, size), &child| {
                let sum = |part: fn(f64) -> f64, pick: fn(&(f64, f64)) -> f64| {
                    row.iter().zip(&weights[child]).map(|(&a, w)| part(a) * pick(w)).sum::<f64>()
                };
                (value * sum(|a| a, |w| w.0), size * sum(f64::abs, |w| w.1))
            })
        };
        weights.push(method.a.iter().map(|row| of_stage(row)).collect());
    }
    weights
}

/// How far Σ wᵢ Φᵢ is from `goal`, in units of its rounding error.
fn defect(weights: &[f64], phi: &[(f64, f64)], goal: f64) -> f64 {
    let value: f64 = weights.iter().zip(phi).map(|(w, p)| w * p.0).sum();
    let size: f64 = weights.iter().zip(phi).map(|(w, p)| w.abs() * p.1).sum();
    (value - goal).abs() / (f64::EPSILON * (size + goal.abs()))
}

/// Rounding of the table's entries and of the sums: a few eps for each of the up to 16 terms and 9 levels.
const ROUNDING: f64 = 20.0;
/// What no rounding explains.
const VIOLATED: f64 = 1e6;

fn b_at(method: &Tableau, theta: f64) -> Vec<f64> {
    method.dense.iter().map(|c| c.iter().rev().fold(0.0, |sum, &c| (sum + c) * theta)).collect()
}

#[test]
fn trees_are_as_many_as_cayley_counted() {
    let list = trees(9);
    let counts: Vec<usize> = (1..=9).map(|n| list.iter().filter(|t| t.nodes == n).count()).collect();
    assert_eq!(counts, [1, 1, 2, 4, 9, 20, 48, 115, 286]);
}

#[test]
fn tables_are_well_formed() {
    for m in methods::ALL {
        let (s, all) = (m.stages(), m.a.len());
        assert!(m.c.len() == all && m.dense.len() == all, "{}", m.name);
        assert!(m.a.iter().enumerate().all(|(i, row)| row.len() == i), "{}", m.name);
        assert!(m.e.is_empty() || m.e.len() == s, "{}", m.name);
        assert!(m.e_low.is_empty() || m.e_low.len() == s, "{}", m.name);
        assert_eq!(m.adaptive(), m.embedded_order > 0, "{}", m.name);
        for (row, c) in m.a.iter().zip(m.c) {
            let size: f64 = row.iter().map(|a| a.abs()).sum();
            assert!((row.iter().sum::<f64>() - c).abs() <= 1e-14 * size.max(1.0), "{}: a row sums to {c}", m.name);
        }
        assert!((m.b.iter().sum::<f64>() - 1.0).abs() < 1e-14 * m.b.iter().map(|b| b.abs()).sum::<f64>(), "{}", m.name);
        for e in [m.e, m.e_low] {
            assert!(
                e.iter().sum::<f64>().abs() < 1e-14 * e.iter().map(|e| e.abs()).sum::<f64>().max(1.0),
                "{}",
                m.name
            );
        }
    }
}

#[test]
fn weights_meet_every_order_condition_of_the_stated_order_and_no_more() {
    let list = trees(9);
    for m in methods::ALL {
        let phi = elementary_weights(m, &list);
        let worst = |order: u32| {
            let of_order = list.iter().zip(&phi).filter(|(t, _)| t.nodes == order);
            of_order.map(|(t, p)| defect(m.b, p, 1.0 / t.gamma)).fold(0.0, f64::max)
        };
        for order in 1..=m.order {
            assert!(worst(order) < ROUNDING, "{} order {order}: {}", m.name, worst(order));
        }
        assert!(worst(m.order + 1) > VIOLATED, "{} is of higher order than stated", m.name);
    }
}

#[test]
fn embedded_weights_meet_the_conditions_of_their_order_and_no_more() {
    let list = trees(8);
    for m in methods::ALL.iter().filter(|m| m.adaptive()) {
        let phi = elementary_weights(m, &list);
        // dop853 states the order of its combined estimate; its two formulas are of orders 5 and 3.
        let estimates = match m.e_low.is_empty() {
            true => vec![(m.e, m.embedded_order)],
            false => vec![(m.e, 5), (m.e_low, 3)],
        };
        for (e, embedded) in estimates {
            // The estimate Σ e Φ = Σ b Φ − Σ b̂ Φ vanishes where both meet the condition.
            let worst = |order: u32| {
                let of_order = list.iter().zip(&phi).filter(|(t, _)| t.nodes == order);
                of_order.map(|(_, p)| defect(e, p, 0.0)).fold(0.0, f64::max)
            };
            for order in 1..=embedded {
                assert!(worst(order) < ROUNDING, "{} estimate of order {order}: {}", m.name, worst(order));
            }
            assert!(worst(embedded + 1) > VIOLATED, "{}: the estimate is of higher order than stated", m.name);
        }
    }
}

#[test]
fn dense_output_meets_the_conditions_of_its_order_and_ends_on_the_step() {
    let list = trees(8);
    for m in methods::ALL {
        let phi = elementary_weights(m, &list);
        for theta in [0.05, 0.3, 0.5, 0.7, 0.95, 1.0] {
            let b = b_at(m, theta);
            // Rounding in bᵢ(θ) is that of its largest term.
            let size: Vec<f64> = m.dense.iter().map(|c| c.iter().map(|c| c.abs()).sum::<f64>()).collect();
            for (tree, p) in list.iter().zip(&phi).filter(|(t, _)| t.nodes <= m.dense_order) {
                let value: f64 = b.iter().zip(p).map(|(b, p)| b * p.0).sum();
                let goal = theta.powi(tree.nodes as i32) / tree.gamma;
                let noise: f64 = size.iter().zip(p).map(|(s, p)| s * p.1).sum::<f64>() * f64::EPSILON * ROUNDING;
                assert!((value - goal).abs() <= noise, "{} at {theta}: {value} for {goal}", m.name);
            }
        }
        for (i, (end, coefficients)) in b_at(m, 1.0).iter().zip(m.dense).enumerate() {
            let goal = m.b.get(i).copied().unwrap_or(0.0);
            let size: f64 = coefficients.iter().map(|c| c.abs()).sum();
            assert!((end - goal).abs() <= 4.0 * f64::EPSILON * size, "{} stage {i}: {end} for {goal}", m.name);
            let slope = coefficients.first().copied().unwrap_or(0.0);
            let first = if i == 0 { 1.0 } else { 0.0 };
            assert!((slope - first).abs() <= 1e-15, "{} leaves with another slope than k₁", m.name);
        }
        assert!(m.dense_order + 1 >= m.order, "{}: the dense output spoils the order", m.name);
    }
}

#[test]
fn the_last_stage_serves_the_next_step_where_it_should() {
    for m in methods::ALL {
        assert_eq!(m.fsal(), ["bosh3", "dopri5", "tsit5", "dop853"].contains(&m.name), "{}", m.name);
    }
}

#[test]
fn stability_ends_where_the_table_says() {
    for m in methods::ALL {
        let amplification = |z: f64| {
            let mut k: Vec<f64> = Vec::new();
            for row in m.a.iter().take(m.stages()) {
                k.push(z * (1.0 + row.iter().zip(&k).map(|(a, k)| a * k).sum::<f64>()));
            }
            (1.0 + m.b.iter().zip(&k).map(|(b, k)| b * k).sum::<f64>()).abs()
        };
        for percent in 1..100 {
            let z = -m.stability * f64::from(percent) / 100.0;
            assert!(amplification(z) < 1.0, "{} grows at {z}", m.name);
        }
        assert!(amplification(-1.001 * m.stability) > 1.0, "{} is stable beyond {}", m.name, m.stability);
    }
}

#[test]
fn between_two_slopes_that_count_lies_no_more_than_the_longest_gap() {
    for m in methods::ALL {
        let gap = m.longest_gap();
        assert!(gap > 0.0 && gap <= 1.0, "{}: {gap}", m.name);
        // Equal steps of length 1: every window of that length holds a node whose slope has a weight.
        for i in 0..1000 {
            let from = f64::from(i) / 1000.0;
            let counts = |j: usize| m.b[j] != 0.0 || m.e.get(j).is_some_and(|e| *e != 0.0);
            let seen = |c: f64| (0..3).any(|step| (from..=from + gap + 1e-12).contains(&(c + f64::from(step))));
            assert!((0..m.stages()).any(|j| counts(j) && seen(m.c[j])), "{}: nothing from {from} on", m.name);
        }
    }
    assert_eq!(methods::named("dopri5").unwrap().longest_gap(), 0.8 - 0.3);
    assert_eq!(methods::named("midpoint").unwrap().longest_gap(), 1.0);
}

#[test]
fn methods_are_found_by_name_and_a_wrong_name_lists_them() {
    for m in methods::ALL {
        assert!(std::ptr::eq(methods::named(m.name).unwrap(), *m));
    }
    let wrong = methods::named("rk45").unwrap_err();
    assert!(matches!(&wrong, SolveError::UnknownMethod { name, known } if name == "rk45" && known.contains("tsit5")));
}
