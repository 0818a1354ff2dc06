//! Quantiles of what was measured.

use std::time::Duration;

use serde_json::{Value as Json, json};

/// The quantiles of some durations in microseconds.
pub(crate) fn summary(times: &mut [Duration]) -> Json {
    times.sort_unstable();
    let us = |time: Duration| (time.as_secs_f64() * 1e7).round() / 10.0;
    let quantile = |q: f64| {
        let rank = (q * times.len() as f64).ceil() as usize;
        us(times.get(rank.saturating_sub(1)).copied().unwrap_or_default())
    };
    let mean = times.iter().sum::<Duration>() / times.len().max(1) as u32;
    json!({
        "count": times.len(),
        "mean_us": us(mean),
        "p50_us": quantile(0.5),
        "p90_us": quantile(0.9),
        "p99_us": quantile(0.99),
        "p999_us": quantile(0.999),
        "max_us": us(times.last().copied().unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        let found = summary(&mut times);
        assert_eq!(
            (&found["p50_us"], &found["p99_us"], &found["max_us"]),
            (&json!(50.0), &json!(99.0), &json!(100.0))
        );
        assert_eq!(summary(&mut [])["count"], 0);
    }
}
