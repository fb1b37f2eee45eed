//! How results are put beside each other.

/// The middle of some figures.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The figure below which such a share of them lies.
pub fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// One line: what was measured, both sides' medians and ranges, the ratio of the medians, and what it should be.
pub fn compare(what: &str, unit: &str, ours: &[f64], other: (&str, &[f64]), aim: f64) {
    let (name, theirs) = other;
    let ratio = median(ours) / median(theirs);
    let verdict = if ratio >= aim { "holds" } else { "does not hold" };
    println!(
        "{what}: headwater {} {unit}, {name} {} {unit}, ratio {ratio:.2} (aim {aim:.2}: {verdict})",
        range(ours),
        range(theirs)
    );
}

fn range(figures: &[f64]) -> String {
    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.0} ({low:.0} to {high:.0})", median(figures))
}

/// One line about a figure that has an upper limit to hold.
pub fn at_most(what: &str, unit: &str, found: f64, aim: f64) {
    let verdict = if found < aim { "holds" } else { "does not hold" };
    println!("{what}: {found:.1} {unit} (aim below {aim:.0}: {verdict})");
}

/// One line about figures that have a lower limit to reach.
pub fn at_least(what: &str, unit: &str, found: &[f64], aim: f64) {
    let ratio = median(found) / aim;
    let verdict = if ratio >= 1.0 { "holds" } else { "does not hold" };
    println!("{what}: {} {unit}, ratio {ratio:.2} to the aim of {aim:.0} ({verdict})", range(found));
}
