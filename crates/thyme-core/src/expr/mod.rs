//! Expressions: what `col(...)` and `lit(...)` build, typed at commit and evaluated on Arrow batches.
//!
//! [`Compiled::new`] checks the types and folds constants; [`Compiled::evaluate`] gives a column for
//! a batch and [`Compiled::evaluate_mask`] the rows where a predicate is true. Numbers behave as in
//! Python, except that what raises there (a zero divisor, an int outside 64 bits, the root of a negative number) is
//! null. [`functions`] is the registry of everything that is not an operator.

pub mod ast;
pub mod evaluate;
pub mod functions;
pub mod typing;

mod arithmetic;
mod compare;
mod decimals;
mod literal;
mod number;
mod show;
mod side;
#[cfg(test)]
mod tests;
mod texts;

pub use ast::{Callee, Expr, Literal, LiteralValue, Operator};
pub use functions::Function;
pub use texts::TEXT_BYTES_MAX;
pub use typing::{Compiled, DEPTH_MAX};
