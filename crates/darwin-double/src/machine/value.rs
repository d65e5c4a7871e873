//! Property-list values, as preferences and information dictionaries hold them.

use std::collections::BTreeMap;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `CFBoolean`.
    Boolean(bool),
    /// `CFNumber` of 64 bits.
    Integer(i64),
    /// `CFNumber` with a fraction.
    Real(f64),
    /// `CFString`.
    Text(String),
    /// `CFData`.
    Data(Vec<u8>),
    /// `CFDate`: seconds since 2001.
    Date(f64),
    /// `CFArray`.
    Array(Vec<Value>),
    /// `CFDictionary`.
    Dictionary(BTreeMap<String, Value>),
}

impl Value {
    /// A dictionary of these entries.
    pub fn dictionary<const N: usize>(entries: [(&str, Value); N]) -> Self {
        Self::Dictionary(entries.map(|(key, value)| (key.to_owned(), value)).into())
    }
}

impl Value {
    /// True or false, also as 1 or 0.
    pub(crate) fn as_boolean(&self) -> Option<bool> {
        if let Self::Boolean(value) = self {
            return Some(*value);
        }
        let value = self.as_integer()?;
        (0..=1).contains(&value).then_some(value == 1)
    }

    pub(crate) fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(value) = self {
            Some(*value)
        } else {
            None
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Self {
        Self::Array(value)
    }
}
