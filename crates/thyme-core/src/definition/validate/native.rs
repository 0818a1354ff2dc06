//! Features that are an expression over other features.

use super::Faults;
use crate::definition::document::{Extractor, Featureset, Place};
use crate::expr::Compiled;
use crate::value::DataType;

/// Checks an extractor of the form `expression`, whose inputs are all there and of these types.
pub(super) fn check(
    featureset: &Featureset,
    extractor: &Extractor,
    inputs: &[(String, DataType)],
    (subject, at): (&str, &Place),
    faults: &mut Faults,
) {
    let Some(expr) = extractor.expression() else {
        let message = format!("{subject} is of the form \"expression\" and has none; give it \"expr\"");
        faults.add(at, subject, "an expression", "none", message);
        return;
    };
    let [output] = extractor.outputs.as_slice() else {
        let message = format!(
            "{subject} is an expression and gives {} features; it gives one",
            extractor.outputs.len()
        );
        faults.add(at, subject, "one output", extractor.outputs.len().to_string(), message);
        return;
    };
    if !extractor.deps.is_empty() {
        let message = format!("{subject} is an expression, which looks nothing up; leave out its deps");
        faults.add(at, subject, "no deps", extractor.deps.join(", "), message);
    }
    let compiled = match Compiled::new(expr, inputs) {
        Ok(compiled) => compiled,
        Err(error) => {
            let message = format!("{subject}: {}", error.detail());
            faults.add(at, subject, "an expression over features", expr.to_string(), message);
            return;
        }
    };
    let Some(feature) = featureset.features.iter().find(|f| f.name == *output) else { return };
    let declared = feature.data_type;
    if let Some(given) = compiled.data_type().filter(|given| !given.fits(declared)) {
        let message = format!(
            "{subject} is declared {declared}, and {expr} is {given}; declare it {given}, or cast the expression"
        );
        faults.add(at, subject, given.name(), declared.name(), message);
    }
}
