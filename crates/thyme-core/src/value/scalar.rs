//! The plain types, of which lists and maps are made, and the names of all types.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{DECIMAL_DIGITS_MAX, DataType, VECTOR_LENGTH_MAX};

/// A plain type: what a list or a map may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scalar {
    /// Signed 64 bits.
    Int,
    /// IEEE 754 binary64.
    Float,
    /// UTF-8 text.
    Str,
    /// True or false.
    Bool,
    /// Microseconds since the Unix epoch, UTC.
    Datetime,
    /// A day of the calendar.
    Date,
    /// Bytes.
    Bytes,
    /// A decimal number with so many digits after the point.
    Decimal(u8),
}

impl Scalar {
    /// Every plain type, decimals with a scale of 0 to 38.
    pub fn all() -> impl Iterator<Item = Scalar> {
        let plain = [
            Scalar::Int,
            Scalar::Float,
            Scalar::Str,
            Scalar::Bool,
            Scalar::Datetime,
            Scalar::Date,
            Scalar::Bytes,
        ];
        plain.into_iter().chain((0..=DECIMAL_DIGITS_MAX).map(Scalar::Decimal))
    }
}

impl From<Scalar> for DataType {
    fn from(scalar: Scalar) -> DataType {
        match scalar {
            Scalar::Int => DataType::Int,
            Scalar::Float => DataType::Float,
            Scalar::Str => DataType::Str,
            Scalar::Bool => DataType::Bool,
            Scalar::Datetime => DataType::Datetime,
            Scalar::Date => DataType::Date,
            Scalar::Bytes => DataType::Bytes,
            Scalar::Decimal(scale) => DataType::Decimal(scale),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DataType::from(*self).name())
    }
}

/// The names of the types that have parameters, and the types that they name.
struct Names {
    of: HashMap<DataType, &'static str>,
    types: HashMap<&'static str, DataType>,
}

/// There are a few thousand of them at most, and they are made when the first is asked for.
static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let decimals = (0..=DECIMAL_DIGITS_MAX).map(DataType::Decimal);
    let lists = Scalar::all().map(DataType::List);
    let maps = Scalar::all().map(DataType::Map);
    let vectors = (1..=VECTOR_LENGTH_MAX).map(DataType::Vector);
    let (mut of, mut types) = (HashMap::new(), HashMap::new());
    for data_type in decimals.chain(lists).chain(maps).chain(vectors) {
        let name: &'static str = match data_type {
            DataType::Decimal(scale) => format!("decimal({scale})").leak(),
            DataType::List(Scalar::Decimal(scale)) => format!("list[decimal({scale})]").leak(),
            DataType::Map(Scalar::Decimal(scale)) => format!("dict[str, decimal({scale})]").leak(),
            DataType::List(item) => format!("list[{item}]").leak(),
            DataType::Map(item) => format!("dict[str, {item}]").leak(),
            DataType::Vector(length) => format!("vector[{length}]").leak(),
            plain => plain.name(),
        };
        of.insert(data_type, name);
        types.insert(name, data_type);
    }
    Names { of, types }
});

/// The types without parameters.
const PLAIN: [DataType; 8] = [
    DataType::Int,
    DataType::Float,
    DataType::Str,
    DataType::Bool,
    DataType::Datetime,
    DataType::Date,
    DataType::Bytes,
    DataType::Json,
];

impl DataType {
    /// The name in definitions and in messages: as users write it in Python, but for `decimal(2)`, `vector[384]`
    /// and `json`, which annotations say with a parameter or as `dict`.
    pub fn name(self) -> &'static str {
        match self {
            DataType::Int => "int",
            DataType::Float => "float",
            DataType::Str => "str",
            DataType::Bool => "bool",
            DataType::Datetime => "datetime",
            DataType::Date => "date",
            DataType::Bytes => "bytes",
            DataType::Json => "json",
            other => NAMES.of.get(&other).copied().unwrap_or("a type out of bounds"),
        }
    }

    /// The type called `name`; blanks in it do not matter.
    pub fn named(name: &str) -> Option<DataType> {
        if let Some(plain) = PLAIN.into_iter().find(|t| t.name() == name) {
            return Some(plain);
        }
        let bare: String = name.chars().filter(|c| !c.is_whitespace()).collect();
        NAMES.types.get(bare.replace(',', ", ").as_str()).copied()
    }
}

impl Serialize for DataType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for DataType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        DataType::named(&name).ok_or_else(|| {
            D::Error::custom(format!(
                "unknown type \"{name}\": expected int, float, str, bool, datetime, date, bytes, decimal(SCALE), list[T], dict[str, T], vector[LENGTH] or json"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_name() {
        let all = PLAIN.into_iter().chain(Scalar::all().map(DataType::from));
        let all = all.chain(Scalar::all().map(DataType::List)).chain(Scalar::all().map(DataType::Map));
        for data_type in all.chain([1, 384, VECTOR_LENGTH_MAX].map(DataType::Vector)) {
            assert_eq!(DataType::named(data_type.name()), Some(data_type));
            let json = serde_json::to_string(&data_type).unwrap();
            assert_eq!(serde_json::from_str::<DataType>(&json).unwrap(), data_type);
        }
        assert_eq!(DataType::Map(Scalar::Int).name(), "dict[str, int]");
        assert_eq!(DataType::named("dict[str,int]"), Some(DataType::Map(Scalar::Int)));
        assert_eq!(DataType::named("list[ decimal(2) ]"), Some(DataType::List(Scalar::Decimal(2))));
        for unknown in ["", "lst[int]", "list[list[int]]", "decimal(39)", "vector[0]", "vector[4097]", "Int"]
        {
            assert_eq!(DataType::named(unknown), None, "{unknown}");
        }
    }
}
