//! An object for each row of a group of rows, kept as plain numbers wherever that can be.

use std::borrow::Cow;
use std::rc::Rc;

use super::object::Object;

/// What the numbers of a lane are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    /// A datetime.
    Moment,
    /// A timedelta.
    Duration,
}

/// An object for each row of a group, which knows how many rows it has.
#[derive(Clone, Debug)]
pub(super) enum Lane {
    /// The same object in all rows.
    Same(Object),
    /// Scalars of one kind; with `valid` some rows have None.
    Words { kind: Kind, words: Vec<u64>, valid: Option<Vec<bool>> },
    /// A tuple in each row, by item.
    Tuple(Vec<Rc<Lane>>),
    /// Anything.
    Any(Vec<Object>),
}

/// The scalars of a lane that has no None.
pub(super) enum Scalars<'a> {
    Each(Cow<'a, [u64]>),
    All(u64),
}

impl Kind {
    /// The object that a word is.
    pub fn object(self, word: u64) -> Object {
        match self {
            Kind::Bool => Object::Bool(word != 0),
            Kind::Int => Object::Int(word as i64),
            Kind::Float => Object::Float(f64::from_bits(word)),
            Kind::Moment => Object::Moment(word as i64),
            Kind::Duration => Object::Duration(word as i64),
        }
    }

    /// `bool(object)` of the object that a word is.
    pub fn is_true(self, word: u64) -> bool {
        match self {
            Kind::Bool | Kind::Int | Kind::Duration => word != 0,
            Kind::Float => f64::from_bits(word) != 0.0,
            Kind::Moment => true,
        }
    }
}

/// A scalar as a word.
pub(super) fn word(object: &Object) -> Option<(Kind, u64)> {
    Some(match object {
        Object::Bool(v) => (Kind::Bool, u64::from(*v)),
        Object::Int(v) => (Kind::Int, *v as u64),
        Object::Float(v) => (Kind::Float, v.to_bits()),
        Object::Moment(us) => (Kind::Moment, *us as u64),
        Object::Duration(us) => (Kind::Duration, *us as u64),
        _ => return None,
    })
}

impl Lane {
    /// Scalars of one kind.
    pub fn words(kind: Kind, words: Vec<u64>) -> Lane {
        Lane::Words { kind, words, valid: None }
    }

    /// The object of a row.
    pub fn get(&self, row: usize) -> Object {
        match self {
            Lane::Same(object) => object.clone(),
            Lane::Words { valid: Some(valid), .. } if !valid[row] => Object::None,
            Lane::Words { kind, words, .. } => kind.object(words[row]),
            Lane::Tuple(items) => Object::Tuple(items.iter().map(|item| item.get(row)).collect()),
            Lane::Any(objects) => objects[row].clone(),
        }
    }

    /// Its scalars, if all rows have one of the same kind.
    pub fn scalars(&self) -> Option<(Kind, Scalars<'_>)> {
        match self {
            Lane::Words { kind, words, valid: None } => Some((*kind, Scalars::Each(Cow::Borrowed(words)))),
            Lane::Same(object) => word(object).map(|(kind, word)| (kind, Scalars::All(word))),
            _ => None,
        }
    }

    /// Some of its rows.
    pub fn pick(&self, rows: &[u32]) -> Lane {
        match self {
            Lane::Same(object) => Lane::Same(object.clone()),
            Lane::Words { kind, words, valid } => {
                let valid: Option<Vec<bool>> =
                    valid.as_ref().map(|valid| rows.iter().map(|&row| valid[row as usize]).collect());
                Lane::Words {
                    kind: *kind,
                    words: rows.iter().map(|&row| words[row as usize]).collect(),
                    valid: valid.filter(|valid| valid.contains(&false)),
                }
            }
            Lane::Tuple(items) => Lane::Tuple(items.iter().map(|item| Rc::new(item.pick(rows))).collect()),
            Lane::Any(objects) => {
                // Branches often part what is of several kinds.
                let mut picked = Builder::default();
                rows.iter().for_each(|&row| picked.push(objects[row as usize].clone()));
                picked.finish()
            }
        }
    }

    /// The rows of one lane, then those of another.
    pub fn joined((one, ones): (&Lane, usize), (other, others): (&Lane, usize)) -> Lane {
        match (one, other) {
            (Lane::Same(a), Lane::Same(b)) if is_same(a, b) => Lane::Same(a.clone()),
            (Lane::Tuple(a), Lane::Tuple(b)) if a.len() == b.len() => {
                let items = a.iter().zip(b);
                Lane::Tuple(items.map(|(a, b)| Rc::new(Lane::joined((a, ones), (b, others)))).collect())
            }
            _ => {
                let mut all = Builder::default();
                all.extend(one, ones);
                all.extend(other, others);
                all.finish()
            }
        }
    }
}

fn is_same(a: &Object, b: &Object) -> bool {
    match (a, b) {
        (Object::None, Object::None) => true,
        _ => word(a).is_some() && word(a) == word(b),
    }
}

/// Makes a lane of objects that come one by one.
#[derive(Debug, Default)]
pub(super) struct Builder {
    made: Made,
}

#[derive(Debug)]
enum Made {
    /// Nothing but None.
    Nones(usize),
    Words {
        kind: Kind,
        words: Vec<u64>,
        valid: Option<Vec<bool>>,
    },
    Any(Vec<Object>),
}

impl Default for Made {
    fn default() -> Self {
        Made::Nones(0)
    }
}

impl Builder {
    /// Adds an object.
    pub fn push(&mut self, object: Object) {
        match (&mut self.made, word(&object)) {
            (Made::Words { kind, words, valid }, Some((of, word))) if *kind == of => {
                words.push(word);
                valid.iter_mut().for_each(|valid| valid.push(true));
            }
            (Made::Words { words, valid, .. }, None) if matches!(object, Object::None) => {
                valid.get_or_insert_with(|| vec![true; words.len()]).push(false);
                words.push(0);
            }
            (Made::Nones(rows), None) if matches!(object, Object::None) => *rows += 1,
            (Made::Nones(rows), Some((kind, word))) => {
                let mut words = vec![0; *rows];
                words.push(word);
                let valid = (*rows > 0).then(|| (0..=*rows).map(|row| row == *rows).collect());
                self.made = Made::Words { kind, words, valid };
            }
            (Made::Any(objects), _) => objects.push(object),
            _ => {
                let mut objects = self.objects();
                objects.push(object);
                self.made = Made::Any(objects);
            }
        }
    }

    /// Adds the rows of a lane.
    pub fn extend(&mut self, lane: &Lane, rows: usize) {
        if let Lane::Words { kind, words, valid } = lane
            && rows > 0
        {
            if let Made::Nones(before) = &self.made {
                let valid = (*before > 0).then(|| vec![false; *before]);
                self.made = Made::Words { kind: *kind, words: vec![0; *before], valid };
            }
            if let Made::Words { kind: known, words: made, valid: present } = &mut self.made
                && known == kind
            {
                if present.is_some() || valid.is_some() {
                    let present = present.get_or_insert_with(|| vec![true; made.len()]);
                    match valid {
                        Some(valid) => present.extend_from_slice(valid),
                        None => present.resize(present.len() + rows, true),
                    }
                }
                made.extend_from_slice(words);
                return;
            }
        }
        (0..rows).for_each(|row| self.push(lane.get(row)));
    }

    /// The lane.
    pub fn finish(self) -> Lane {
        match self.made {
            Made::Nones(_) => Lane::Same(Object::None),
            Made::Words { kind, words, valid } => Lane::Words { kind, words, valid },
            Made::Any(objects) => Lane::Any(objects),
        }
    }

    /// What was pushed so far, as it was.
    fn objects(&mut self) -> Vec<Object> {
        match std::mem::take(&mut self.made) {
            Made::Nones(rows) => vec![Object::None; rows],
            Made::Any(objects) => objects,
            Made::Words { kind, words, valid } => {
                let object = |(row, &word): (usize, &u64)| match &valid {
                    Some(valid) if !valid[row] => Object::None,
                    _ => kind.object(word),
                };
                words.iter().enumerate().map(object).collect()
            }
        }
    }
}
