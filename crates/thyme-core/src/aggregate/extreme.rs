//! `Min` and `Max`: exact; any NaN gives NaN; strings in the order of their code points.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use super::slice::{text_value, word_text};
use super::{
    Aggregate, Call, Extent, Mask, ORDERED, Outcome, Slice, State, Sweeper, accept, decimal, mask_rows,
};
use crate::error::Result;
use crate::value::{DataType, NAN, Value};

/// `Min` or `Max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extreme {
    /// `Min`.
    Min,
    /// `Max`.
    Max,
}

impl Aggregate for Extreme {
    fn name(&self) -> &'static str {
        match self {
            Extreme::Min => "min",
            Extreme::Max => "max",
        }
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, ORDERED)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        match call.of {
            Some(DataType::Decimal(scale)) => Box::new(decimal::Best::new(*self, scale)),
            Some(DataType::Str) => Box::new(TextExtreme { extreme: *self, best: None }),
            of => Box::new(WordExtreme { scale: Scale::new(*self, of), best: None, nan: false }),
        }
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        match call.of {
            Some(DataType::Decimal(scale)) => Box::new(decimal::BestSweeper::new(*self, scale)),
            Some(DataType::Str) => Box::new(TextSweeper { extreme: *self, queue: Queue::default() }),
            of => Box::new(WordSweeper { scale: Scale::new(*self, of), queue: Queue::default(), nans: 0 }),
        }
    }
}

/// Puts the words of a type on one integer scale on which the wanted extreme is the least.
#[derive(Clone, Copy, Debug)]
struct Scale {
    data_type: DataType,
    flip: i64,
}

impl Scale {
    fn new(extreme: Extreme, of: Option<DataType>) -> Scale {
        let flip = match extreme {
            Extreme::Min => 0,
            Extreme::Max => -1,
        };
        Scale { data_type: of.unwrap_or(DataType::Int), flip }
    }

    #[inline]
    fn is_nan(self, word: u64) -> bool {
        self.data_type == DataType::Float && f64::from_bits(word).is_nan()
    }

    #[inline]
    fn rank(self, word: u64) -> i64 {
        let key = if self.data_type == DataType::Float { order_float(word as i64) } else { word as i64 };
        key ^ self.flip
    }

    fn value(self, rank: i64) -> Value {
        let key = rank ^ self.flip;
        match self.data_type {
            DataType::Float => Value::Float(f64::from_bits(order_float(key) as u64)),
            DataType::Bool => Value::Bool(key != 0),
            DataType::Datetime => Value::Datetime(key),
            DataType::Date => Value::Date(key as i32),
            _ => Value::Int(key),
        }
    }
}

/// Maps float bits to integers of the same order; it is its own inverse.
#[inline]
pub(super) fn order_float(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[derive(Clone, Debug)]
struct WordExtreme {
    scale: Scale,
    best: Option<i64>,
    nan: bool,
}

impl WordExtreme {
    fn take(&mut self, rank: Option<i64>) {
        self.best = match (self.best, rank) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl State for WordExtreme {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        let scale = self.scale;
        let (best, nan) = slice.with_picked(mask, |words| {
            if words.iter().any(|w| scale.is_nan(*w)) {
                return (None, true);
            }
            (words.iter().map(|w| scale.rank(*w)).min(), false)
        });
        self.nan |= nan;
        self.take(best);
    }

    fn merge(&mut self, later: &dyn State) {
        if let Some(later) = later.as_any().downcast_ref::<Self>() {
            self.nan |= later.nan;
            self.take(later.best);
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        match self.best {
            _ if self.nan => Outcome::Value(Value::Float(NAN)),
            Some(rank) => Outcome::Value(self.scale.value(rank)),
            None => Outcome::Nothing,
        }
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.best = None;
        self.nan = false;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Whether `a` is the better of the two; of equals neither is.
#[inline]
fn better(extreme: Extreme, a: &[u8], b: &[u8]) -> bool {
    match extreme {
        Extreme::Min => a < b,
        Extreme::Max => a > b,
    }
}

#[derive(Clone, Debug)]
struct TextExtreme {
    extreme: Extreme,
    best: Option<Arc<str>>,
}

impl State for TextExtreme {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        let mut found: Option<&[u8]> = None;
        for word in mask_rows(mask).filter_map(|row| slice.words.get(row)) {
            let text = word_text(*word, slice.heap);
            let best = found.or(self.best.as_deref().map(str::as_bytes));
            if best.is_none_or(|best| better(self.extreme, text, best)) {
                found = Some(text);
            }
        }
        if let Some(text) = found {
            self.best = Some(text_value(text));
        }
    }

    fn merge(&mut self, later: &dyn State) {
        let Some(TextExtreme { best: Some(text), .. }) = later.as_any().downcast_ref::<Self>() else {
            return;
        };
        if self.best.as_ref().is_none_or(|best| better(self.extreme, text.as_bytes(), best.as_bytes())) {
            self.best = Some(text.clone());
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        self.best.as_ref().map_or(Outcome::Nothing, |text| Outcome::Value(Value::Str(text.clone())))
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.best = None;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        size_of_val(self) + self.best.as_ref().map_or(0, |text| text.len() + 16)
    }
}

/// The rows of a window that can still become its extreme, best first: each row pushed drops the
/// worse ones before it, which leave the window earlier than it does.
#[derive(Debug)]
pub(super) struct Queue<T> {
    rows: VecDeque<(u64, T)>,
    pushed: u64,
    evicted: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { rows: VecDeque::new(), pushed: 0, evicted: 0 }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, item: T, keeps: impl Fn(&T) -> bool) {
        while self.rows.back().is_some_and(|(_, worse)| !keeps(worse)) {
            self.rows.pop_back();
        }
        self.rows.push_back((self.pushed, item));
        self.pushed += 1;
    }

    pub(super) fn evict(&mut self, rows: u64) {
        self.evicted += rows;
        while self.rows.front().is_some_and(|(row, _)| *row < self.evicted) {
            self.rows.pop_front();
        }
    }

    pub(super) fn best(&self) -> Option<&T> {
        self.rows.front().map(|(_, item)| item)
    }
}

#[derive(Debug)]
struct WordSweeper {
    scale: Scale,
    queue: Queue<i64>,
    nans: u64,
}

impl Sweeper for WordSweeper {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        slice.with_picked(mask, |words| {
            for &word in words {
                if self.scale.is_nan(word) {
                    self.nans += 1;
                } else {
                    let rank = self.scale.rank(word);
                    self.queue.push(rank, |earlier| *earlier < rank);
                }
            }
        });
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        let scale = self.scale;
        let (rows, nans) = slice
            .with_picked(mask, |words| (words.len(), words.iter().filter(|w| scale.is_nan(**w)).count()));
        self.nans = self.nans.saturating_sub(nans as u64);
        self.queue.evict((rows - nans) as u64);
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        match self.queue.best() {
            _ if self.nans > 0 => Outcome::Value(Value::Float(NAN)),
            Some(rank) => Outcome::Value(self.scale.value(*rank)),
            None => Outcome::Nothing,
        }
    }
}

#[derive(Debug)]
struct TextSweeper {
    extreme: Extreme,
    queue: Queue<Arc<str>>,
}

impl Sweeper for TextSweeper {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        for word in mask_rows(mask).filter_map(|row| slice.words.get(row)) {
            let text = word_text(*word, slice.heap);
            let extreme = self.extreme;
            self.queue.push(text_value(text), |earlier| better(extreme, earlier.as_bytes(), text));
        }
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        let rows = mask_rows(mask).filter(|row| *row < slice.words.len()).count();
        self.queue.evict(rows as u64);
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        self.queue.best().map_or(Outcome::Nothing, |text| Outcome::Value(Value::Str(text.clone())))
    }
}
