//! Distances on the globe.

use std::sync::Arc;

use arrow::array::Float64Array;

use super::{Call, Function, Kernel, arg, nulls_of};
use crate::error::Result;
use crate::expr::side::Side;
use crate::expr::typing::Node;
use crate::value::{DataType, canonical};

pub(super) const ALL: &[Function] = &[Function::free("haversine_km", (4, 4), haversine_km)];

/// The mean radius of the Earth (IUGG), in kilometres.
const EARTH_KM: f64 = 6371.0088;

/// The great-circle distance between `(lat1, lon1)` and `(lat2, lon2)` in degrees; null for a latitude beyond a pole.
fn haversine_km(call: Call<'_>) -> Result<Node> {
    let call = call.floats()?;
    let kernel = Kernel::new(|args, rows| {
        let mut sides = Vec::with_capacity(4);
        for index in 0..4 {
            sides.push(arg(args, index)?.floats()?);
        }
        let many = |side: &Side<'_, f64>| match side {
            Side::Many(values) => Some(values.len()),
            Side::One(_) => None,
        };
        let rows = sides.iter().find_map(many).unwrap_or(rows.min(1));
        let at = |index: usize, row: usize| match sides.get(index) {
            Some(Side::Many(values)) => values.get(row).copied().unwrap_or_default(),
            Some(Side::One(value)) => *value,
            None => 0.0,
        };
        let nulls = nulls_of(args);
        let kept = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
        let km = |row: usize| {
            Some(row).filter(kept).and_then(|row| haversine(at(0, row), at(1, row), at(2, row), at(3, row)))
        };
        Ok(Arc::new((0..rows).map(km).collect::<Float64Array>()))
    });
    Ok(call.strict(4, DataType::Float, kernel))
}

/// `2 R asin(sqrt(h))` with `h = sin²(Δφ/2) + cos φ1 cos φ2 sin²(Δλ/2)`, computed in this order.
fn haversine(lat1: f64, lon1: f64, lat2: f64, lon2: f64) -> Option<f64> {
    if lat1.abs() > 90.0 || lat2.abs() > 90.0 {
        return None;
    }
    let radians = |degrees: f64| degrees * (std::f64::consts::PI / 180.0);
    let half = |from: f64, to: f64| libm::sin((radians(to) - radians(from)) / 2.0);
    let (lat, lon) = (half(lat1, lat2), half(lon1, lon2));
    let h = lat * lat + libm::cos(radians(lat1)) * libm::cos(radians(lat2)) * lon * lon;
    let km = 2.0 * EARTH_KM * libm::asin(libm::sqrt(h.min(1.0)));
    let is_finite = [lat1, lon1, lat2, lon2].iter().all(|v| !v.is_infinite());
    is_finite.then(|| canonical(if h.is_nan() { h } else { km }))
}
